// What this wiki's admin can do with an incoming transfer: a button for each step that the server says is possible.

import { get, send } from "./api.js";
import { fill, h, setText } from "./dom.js";
import { t } from "./i18n.js";
import { showReceipt } from "./receipts.js";
import { confirmDialog, errorText } from "./shell.js";

// In the order of the buttons. `ask`: what it will do is told first.
const STEPS = [
  { verb: "commit", name: "commit", look: "primary", ask: true },
  { verb: "release-maintenance", name: "release", look: "primary", ask: true },
  { verb: "receipt", name: "receipt" },
  { verb: "rollback", name: "rollback", ask: true, grave: true },
  { verb: "purge", name: "purge", ask: true, grave: true },
  { verb: "cancel", name: "cancel", ask: true, grave: true },
];

/**
 * Put the buttons into `place` that `transfer.actions` names. `said` shows a refusal; `changed` gets the transfer as it is
 * after a step.
 */
export function fillActions(place, said, transfer, changed) {
  const fitting = STEPS.filter((step) => transfer.actions?.includes(step.verb));
  const names = [transfer.state, ...fitting.map((step) => step.verb)].join(" ");
  if (place.dataset.drawn === names) return;
  place.dataset.drawn = names;
  const focused = place.contains(document.activeElement);
  fill(place, fitting.map((step) => button(step, place, said, transfer, changed)));
  if (focused) place.querySelector("button")?.focus();
}

function button(step, place, said, transfer, changed) {
  // What is kept is something else after a rollback.
  const name = step.verb === "purge" && transfer.state === "rolled_back" ? "purge_rolled_back" : step.name;
  const label = t(`destination.action.${name}`);

  async function press({ currentTarget: pressed }) {
    if (step.verb === "receipt") {
      await showReceipt(transfer.id);
      return;
    }
    const asked = { title: label, confirm: label, cancel: t("common.do_nothing"), grave: step.grave };
    if (step.ask && !(await confirmDialog(t(`destination.ask.${name}`), asked))) return;
    const all = [...place.children];
    for (const one of all) one.disabled = true;
    pressed.ariaBusy = "true";
    said.hidden = true;
    try {
      await send("POST", `/transfers/${transfer.id}/${step.verb}`);
      changed((await get(`/transfers/${transfer.id}`)).transfer);
    } catch (error) {
      setText(said, errorText(error));
      said.hidden = false;
    } finally {
      pressed.ariaBusy = null;
      for (const one of all) one.disabled = false;
    }
  }

  return h("button", { type: "button", class: `button ${step.look ?? ""}`, dataset: { verb: step.verb }, on: { click: press } }, label);
}
