// Transfers as they move, one card each.

import { fill, h, setText } from "./dom.js";
import { bytes, count, date, decimal, duration, hasText, t } from "./i18n.js";
import { watch } from "./live.js";
import { RUNNING, fillActions } from "./transfer-actions.js";
import { watchLinkButton } from "./watch-link.js";

const STEPS = ["checked", "copying", "reconciling", "indexing", "verifying", "ready", "committing", "completed"];
const TONE = { completed: "good", ready: "good", failed: "bad", paused: "warn", cancelled: "warn", rolled_back: "warn" };
const BARS = ["bytes", "documents", "files"];

/**
 * Show transfers in `root`, live: one (`transferId`), all, or the one of a watch link (`token`, which can do nothing).
 * Returns what `watch` returns.
 */
export function showTransfers(root, { transferId, token } = {}) {
  const line = h("p", { class: "line waiting", role: "status" });
  const empty = h("p", { class: "empty", hidden: true }, t("transfer.none"));
  const list = h("div", { class: "stack", id: "transfers" });
  const cards = new Map();
  fill(root, h("div", { class: "spread" }, h("h1", null, t(transferId || token ? "transfer.heading_one" : "transfer.heading_all")), line), list, empty);

  const show = (transfer) => {
    const name = `${transfer.role} ${transfer.id}`;
    if (!cards.has(name)) {
      const card = new Card(transfer, { alone: Boolean(transferId || token), readOnly: Boolean(token), changed: (after) => show(after) });
      cards.set(name, card);
      list.prepend(card.element);
    }
    cards.get(name).show(transfer);
    empty.hidden = true;
    if (transferId || token) document.title = t("transfer.title_state", { state: t(`transfer.state.${transfer.state}`) });
  };
  return watch({
    transferId,
    token,
    onSnapshot: show,
    onReady: () => (empty.hidden = cards.size > 0),
    onConnection: ({ state }) => {
      line.className = `line ${state === "live" ? "live" : "waiting"}`;
      setText(line, t(`common.line.${state}`));
      line.dataset.state = state;
      if (state === "missing" || state === "ended") {
        setText(empty, t(state === "missing" ? "transfer.missing" : "transfer.link_ended"));
        empty.hidden = false;
      }
    },
  });
}

class Card {
  constructor(transfer, { alone, readOnly, changed }) {
    this.readOnly = readOnly;
    this.changed = changed;
    this.places = {};
    const place = (name, element) => (this.places[name] = element);
    const id = alone ? h("span", { class: "mono break" }, transfer.id) : h("a", { class: "mono", href: `/transfers/${transfer.id}` }, transfer.id.slice(0, 8));
    const fact = (name) => h("div", { dataset: { fact: name } }, h("dt", null, t(`transfer.${name}`)), place(name, h("dd")));
    this.element = h(
      "article",
      { class: "card" },
      h("header", null, h("h2", null, place("direction", h("span")), " ", id), h("div", { class: "row" }, readOnly ? null : watchLinkButton(transfer), place("state", h("span", { class: "badge" })))),
      h("ol", { class: "steps", "aria-label": t("transfer.steps") }, STEPS.map((step) => place(step, h("li", null, t(`transfer.state.${step}`))))),
      place("actions", h("div", { class: "actions", role: "group", "aria-label": t("transfer.actions") })),
      place("said", h("p", { class: "problem", role: "alert", hidden: true })),
      BARS.map((name) => {
        const label = h("span", { id: `${name}-${transfer.role}-${transfer.id}` }, t(`transfer.${name}`));
        const bar = place(`${name}Bar`, h("progress", { class: "progress", max: 1, "aria-labelledby": label.id }));
        return h("div", { class: "meter" }, h("div", { class: "spread" }, label, place(name, h("span", { class: "number" }))), bar);
      }),
      h("dl", { class: "facts" }, ["database", "attachments", "dialect", "speed", "document_speed", "file_speed", "eta", "wire"].map(fact)),
      place("activity", h("dl", { class: "facts" }, ["volumes_in_flight", "attachments_in_flight", "retries"].map(fact))),
      place("lag", h("dl", { class: "facts" }, ["equal_as_of", "commit"].map(fact))),
      h("dl", { class: "facts" }, ["failed", "skipped", "kept"].map(fact)),
      place("warnings", h("section", { class: "stack" })),
      place("failures", h("section", { class: "stack" })),
    );
  }

  show(transfer) {
    const { activity, lag, rate } = transfer;
    const lane = ({ in_flight, limit, waiting }) => t(waiting ? "transfer.lane_waiting" : "transfer.lane", { in_flight, limit, waiting });
    this.write({
      direction: t(`transfer.role.${transfer.role}`),
      state: t(`transfer.state.${transfer.state}`),
      bytes: t("transfer.done_of", { done: bytes(transfer.bytes.done), total: bytes(transfer.bytes.total) }),
      documents: t("transfer.done_of", { done: count(transfer.documents.done), total: count(transfer.documents.total) }),
      files: t("transfer.done_of", { done: count(transfer.files.done), total: count(transfer.files.total) }),
      database: t(`transfer.status.${transfer.mongo}`),
      attachments: t(`transfer.status.${transfer.attachments}`),
      dialect: transfer.dialect,
      speed: t("transfer.per_second", { value: bytes(rate.bytes_per_second) }),
      document_speed: decimal(rate.documents_per_second),
      file_speed: decimal(rate.files_per_second),
      eta: transfer.eta_seconds === null ? t("transfer.eta_unknown") : duration(transfer.eta_seconds),
      wire: bytes(transfer.bytes.wire),
      failed: count(transfer.files.failed),
      skipped: count(transfer.files.skipped),
      kept: transfer.rollback_until ? date(transfer.rollback_until) : "",
      volumes_in_flight: activity ? lane(activity.volumes) : "",
      attachments_in_flight: activity ? lane(activity.attachments) : "",
      retries: activity ? retries(activity.retries) : "",
      equal_as_of: lag?.as_of ? date(lag.as_of) : t("transfer.last_reading"),
      commit: lag ? (lag.commit_possible ? t("transfer.commit_possible") : lag.reason) : "",
    });
    this.places.state.className = `badge ${TONE[transfer.state] ?? "busy"}`;
    this.places.state.dataset.state = transfer.state;
    this.places.activity.hidden = !(activity && RUNNING.includes(transfer.state));
    this.places.lag.hidden = !lag;
    this.places.kept.parentElement.hidden = !transfer.rollback_until;
    for (const name of BARS) {
      const { done, total, skipped = 0 } = transfer[name];
      const bar = this.places[`${name}Bar`];
      bar.max = Math.max(1, total);
      bar.value = Math.min(done + skipped, bar.max);
    }
    this.steps(transfer.state);
    this.warnings(transfer.warnings);
    this.failures(transfer.failures);
    if (!this.readOnly) fillActions(this.places.actions, this.places.said, transfer, this.changed);
  }

  write(texts) {
    for (const [name, text] of Object.entries(texts)) setText(this.places[name], text);
  }

  steps(state) {
    const at = STEPS.indexOf(state === "rolled_back" ? "completed" : state);
    STEPS.forEach((step, index) => {
      this.places[step].className = index < at || state === "completed" ? "done" : index === at ? "now" : "";
    });
  }

  warnings(warnings) {
    this.places.warnings.hidden = warnings.length === 0;
    fill(
      this.places.warnings,
      h("h3", null, t("transfer.warnings")),
      h("ul", null, warnings.map(({ code, message, details }) => h("li", null, message, " ", h("code", null, code), details ? [" ", h("span", { class: "quiet" }, JSON.stringify(details))] : null))),
    );
  }

  failures(failures) {
    this.places.failures.hidden = failures.length === 0;
    const heads = ["item", "kind", "reason", "code", "tries", "retryable"].map((name) => h("th", { scope: "col" }, t(`transfer.failure.${name}`)));
    const rows = failures.map((one) =>
      h("tr", null, h("td", { class: "break" }, one.item), h("td", null, one.kind), h("td", null, one.message), h("td", null, h("code", null, one.code)), h("td", { class: "number" }, count(one.tries)), h("td", null, t(one.retryable ? "common.yes" : "common.no"))),
    );
    fill(
      this.places.failures,
      h("h3", null, t("transfer.failures")),
      h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": t("transfer.failures") }, h("table", { class: "table" }, h("thead", null, h("tr", null, heads)), h("tbody", null, rows))),
    );
  }
}

function retries(tried) {
  const told = Object.entries(tried).map(([code, times]) => {
    const key = `error.${code}`;
    return `${count(times)} × ${hasText(key) ? t(key) : code}`;
  });
  return told.join(", ") || t("transfer.never");
}
