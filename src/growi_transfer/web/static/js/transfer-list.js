// Transfers as a list: newest first, by page, of some states, live.

import { get } from "./api.js";
import { fill, h, setText } from "./dom.js";
import { bytes, count, date, t } from "./i18n.js";
import { watch } from "./live.js";
import { showError } from "./shell.js";
import { fillActions } from "./transfer-actions.js";
import { shownState, toneOf } from "./transfer-states.js";
import { stateWord } from "./transfer-words.js";

const SHOWN = 10;
const FIRST_WAIT = 1000;
const LONGEST_WAIT = 15_000;
const RESUMED_HERE = ["interrupted", "paused", "failed"];
const GROUPS = {
  all: [],
  running: ["created", "checked", "copying", "reconciling", "indexing", "verifying", "committing"],
  waiting: ["ready", "paused", "failed"],
  ended: ["completed", "rolled_back", "cancelled"],
};

/**
 * A card with the transfers of a role, or of both. `heading` and `empty` are keys of texts. `{ element, close() }`;
 * `onConnection` hears of the line as `watch` tells it.
 */
export function transferList({ role = null, heading, empty, level = "h2", onConnection = () => {} }) {
  const rows = new Map();
  let skip = 0;
  let total = 0;
  let group = "all";
  let asked = 0;
  let failures = 0; // in a row
  let again = null;
  let last = "";

  const items = h("ul", { class: "transfers" });
  const nothing = h("p", { class: "empty", hidden: true });
  const where = h("span", { class: "hint number", role: "status" });
  const newer = h("button", { type: "button", class: "button small", on: { click: () => turn(-SHOWN) } }, t("list.newer"));
  const older = h("button", { type: "button", class: "button small", on: { click: () => turn(SHOWN) } }, t("list.older"));
  const pages = h("div", { class: "row", hidden: true }, newer, older, where);
  const select = h(
    "select",
    {
      class: "switch",
      "aria-label": t("list.filter"),
      on: {
        change: (event) => {
          group = event.target.value;
          skip = 0;
          load();
        },
      },
    },
    Object.keys(GROUPS).map((name) => h("option", { value: name }, t(`list.group.${name}`))),
  );
  const element = h("section", { class: "card", id: "history", "aria-labelledby": "history-heading" }, h("header", null, h(level, { id: "history-heading" }, t(heading)), select), items, nothing, pages);

  function turn(by) {
    skip = Math.max(0, skip + by);
    load();
  }

  async function load() {
    const number = (asked += 1);
    clearTimeout(again);
    const query = new URLSearchParams({ limit: SHOWN, skip, state: GROUPS[group].join(",") });
    if (role) query.set("role", role);
    try {
      const answer = await get(`/transfers?${query}`);
      if (number !== asked) return;
      failures = 0;
      total = answer.total;
      draw(answer.transfers);
    } catch (error) {
      if (number !== asked) return;
      if (failures === 0) showError(error);
      // What changed may be the last of it: nothing else would ask again.
      again = setTimeout(load, Math.min(FIRST_WAIT * 2 ** failures, LONGEST_WAIT));
      failures += 1;
    }
  }

  function draw(transfers) {
    const names = transfers.map(nameOf);
    for (const name of [...rows.keys()]) if (!names.includes(name)) rows.delete(name);
    for (const transfer of transfers) {
      const known = rows.get(nameOf(transfer)) ?? new Row(transfer, role === null, load);
      rows.set(nameOf(transfer), known);
      known.show(transfer);
    }
    const order = names.join();
    if (order !== last) fill(items, names.map((name) => rows.get(name).element));
    last = order;
    nothing.hidden = transfers.length > 0;
    setText(nothing, t(group === "all" ? empty : "list.none_such"));
    pages.hidden = total <= SHOWN;
    newer.disabled = skip === 0;
    older.disabled = skip + SHOWN >= total;
    setText(where, t("list.where", { first: count(skip + 1), last: count(skip + transfers.length), total: count(total) }));
  }

  let ready = false;
  const line = watch({
    onConnection,
    onReady: () => {
      ready = true;
      load();
    },
    onSnapshot: (transfer) => {
      if (role && transfer.role !== role) return;
      const row = rows.get(nameOf(transfer));
      const before = row?.state;
      row?.show(transfer);
      // A new one, or one that may belong into another group now.
      if (before !== transfer.state && ready) load();
    },
  });
  return { element, close: () => (clearTimeout(again), (asked += 1), line.close()) };
}

function nameOf({ role, id }) {
  return `${role} ${id}`;
}

class Row {
  constructor(transfer, tellsRole, changed) {
    this.changed = changed;
    this.known = {};
    this.badge = h("span", { class: "badge" });
    this.bar = h("progress", { class: "progress", max: 1, "aria-label": t("transfer.bytes") });
    this.numbers = h("span", { class: "hint number" });
    const begun = transfer.created_at ? t("list.begun", { when: date(transfer.created_at) }) : "";
    this.actions = h("div", { class: "actions" });
    this.said = h("p", { class: "problem", role: "alert", hidden: true });
    this.to = h("span", { class: "break" });
    this.element = h(
      "li",
      null,
      h("div", { class: "spread" }, h("span", { class: "row" }, h("a", { class: "mono", href: `/transfers/${transfer.id}` }, transfer.id.slice(0, 8)), tellsRole ? h("span", { class: "hint" }, t(`transfer.role.${transfer.role}`)) : null, this.to), this.badge),
      this.bar,
      h("div", { class: "spread" }, this.numbers, h("span", { class: "hint" }, begun)),
      this.said,
      this.actions,
    );
  }

  show(transfer) {
    this.known = { ...this.known, ...transfer };
    const { state, documents, files, bytes: size, destination, preset } = this.known;
    this.state = state;
    const shown = shownState(this.known);
    this.badge.className = `badge ${toneOf(shown)}`;
    this.badge.dataset.state = shown;
    setText(this.badge, stateWord(this.known));
    const mode = preset === "merge" ? ` (${t("transfer.preset_merge")})` : "";
    setText(this.to, (destination ? `→ ${destination}` : "") + mode);
    this.bar.max = Math.max(1, size.total);
    this.bar.value = state === "completed" ? this.bar.max : Math.min(size.done, this.bar.max);
    this.bar.className = `progress ${toneOf(shown) === "good" ? "good" : toneOf(shown) === "bad" ? "bad" : ""}`;
    setText(this.numbers, t("list.numbers", { documents: count(documents.done), files: count(files.done), bytes: bytes(size.done) }));
    // Whoever looks for what stands still is one step away from going on; everything else is on its own page.
    const actions = RESUMED_HERE.includes(shown) ? (this.known.actions ?? []).filter((one) => one === "resume") : [];
    fillActions(this.actions, this.said, { ...this.known, actions }, (after) => (this.show(after), this.changed()), { small: true });
  }
}
