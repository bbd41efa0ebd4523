// The destination's page: keys to hand over, transfers that come in, and this wiki itself.

import { byId, h } from "./dom.js";
import { Incoming } from "./destination-incoming.js";
import { Keys } from "./destination-keys.js";
import { Summary } from "./destination-summary.js";
import { t } from "./i18n.js";
import { receiptForm } from "./receipts.js";
import { startShell } from "./shell.js";

const CHANGED_MS = 300; // several changes that come together ask once

const server = await startShell({ page: "destination" });
const main = byId("main");

if (server.roles.includes("receiver") || server.roles.length === 0) {
  const section = (name, ...classes) => h("section", { class: ["card", ...classes].join(" "), id: `${name}-card`, "aria-label": t(`destination.part.${name}`) });
  const parts = {
    problems: h("div", { class: "stack", id: "problems" }),
    keys: section("keys"),
    incoming: h("section", { class: "stack", id: "incoming-part", "aria-label": t("destination.part.incoming") }),
    cards: h("div", { class: "grid", id: "summary" }),
    receipt: section("receipt"),
  };
  const again = h("button", { type: "button", class: "button small", id: "look-again", on: { click: () => look() } }, t("destination.look_again"));
  main.append(
    h("p", { class: "quiet" }, t("destination.lead")),
    parts.problems,
    parts.keys,
    parts.incoming,
    h("section", { class: "stack", "aria-label": t("destination.part.wiki") }, h("div", { class: "spread" }, h("h2", null, t("destination.part.wiki")), again), parts.cards),
    parts.receipt,
  );
  const summary = new Summary(parts);
  const keys = new Keys(parts.keys);
  let soon = null;
  const look = async () => {
    again.disabled = true;
    again.ariaBusy = "true";
    await Promise.all([summary.again(), keys.refresh()]);
    again.ariaBusy = null;
    again.disabled = false;
  };
  const changed = () => {
    clearTimeout(soon);
    soon = setTimeout(look, CHANGED_MS);
  };
  receiptForm(parts.receipt);
  new Incoming(parts.incoming, { line: h("p", { class: "line waiting", role: "status" }), onChange: changed });
  look();
} else {
  main.append(h("p", { class: "note info" }, t("destination.not_here")));
}
