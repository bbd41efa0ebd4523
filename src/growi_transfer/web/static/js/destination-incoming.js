// Transfers into this wiki: what each is doing, what that means for the wiki, and what can be done.

import { get } from "./api.js";
import { fill, h, setText } from "./dom.js";
import { bytes, count, date, decimal, duration, percent, t } from "./i18n.js";
import { watch } from "./live.js";
import { showError } from "./shell.js";
import { fillActions } from "./transfer-actions.js";
import { RUNNING, toneOf } from "./transfer-states.js";

const PAGE = 10;
const MOST = 1000; // of one answer
const MOVED = ["documents", "files"];

/**
 * The list, in `place`. `onChange(transfer)` is told of each that is new or has another state than before, `line` shows the
 * connection.
 */
export class Incoming {
  constructor(place, { line, onChange }) {
    this.onChange = onChange;
    this.cards = new Map();
    this.shown = PAGE;
    this.total = 0;
    this.isReady = false;
    this.list = h("div", { class: "stack", id: "incoming" });
    this.empty = h("div", { class: "empty stack", hidden: true }, h("p", null, t("destination.incoming.none")), h("p", null, t("destination.incoming.none_do")));
    this.more = h("button", { type: "button", class: "button", hidden: true, on: { click: () => this.showMore() } }, t("destination.incoming.more"));
    fill(place, h("div", { class: "spread" }, h("h2", null, t("destination.incoming.heading")), line), this.list, this.empty, h("div", { class: "actions" }, this.more));
    this.watch = watch({
      onSnapshot: (transfer) => transfer.role === "receiver" && this.show(transfer),
      onReady: () => this.ready(),
      onConnection: ({ state }) => {
        line.className = `line ${state === "live" ? "live" : "waiting"}`;
        line.dataset.state = state;
        setText(line, t(`common.line.${state}`));
      },
    });
  }

  async ready() {
    this.isReady = true;
    this.empty.hidden = this.cards.size > 0;
    await this.load().catch(() => {}); // the line says so
  }

  /** As many as are shown: what is told live begins with the newest of both roles, and those may all be others. */
  async load() {
    const { transfers, total } = await get(`/transfers?role=receiver&limit=${this.shown}`);
    this.total = total;
    for (const transfer of transfers) if (!this.cards.has(transfer.id)) this.show(transfer);
    this.arrange();
  }

  show(transfer) {
    let card = this.cards.get(transfer.id);
    const before = card?.transfer.state;
    if (!card) {
      card = new Card(transfer, (after) => {
        this.show(after);
        this.watch.refresh();
        this.onChange(after);
      });
      this.cards.set(transfer.id, card);
    }
    const moved = card.transfer.created_at !== transfer.created_at || !card.element.isConnected;
    card.show(transfer);
    if (moved) this.arrange();
    this.empty.hidden = true;
    if (this.isReady && before !== transfer.state) this.onChange(transfer);
  }

  /** Newest first, a page of them. */
  arrange() {
    const age = ({ transfer }) => -(transfer.created_at ? new Date(transfer.created_at).getTime() : Number.MAX_SAFE_INTEGER);
    const sorted = [...this.cards.values()].sort((one, other) => age(one) - age(other));
    const wanted = sorted.slice(0, this.shown).map((card) => card.element);
    // Only what is not in its place is moved: focus and selection are lost otherwise.
    wanted.forEach((element, index) => {
      if (this.list.children[index] !== element) this.list.insertBefore(element, this.list.children[index] ?? null);
    });
    while (this.list.children.length > wanted.length) this.list.lastElementChild.remove();
    this.more.hidden = wanted.length >= MOST || Math.max(this.total, sorted.length) <= wanted.length;
  }

  async showMore() {
    this.shown = Math.min(this.shown + PAGE, MOST);
    await this.load().catch(showError);
  }
}

class Card {
  constructor(transfer, changed) {
    this.transfer = transfer;
    this.changed = changed;
    this.places = {};
    const place = (name, element) => (this.places[name] = element);
    const fact = (name) => place(`${name}Fact`, h("div", { dataset: { fact: name } }, h("dt", null, t(`transfer.${name}`)), place(name, h("dd"))));
    const title = h("h3", { id: `title-${transfer.id}` }, t("destination.incoming.transfer"), " ", h("a", { class: "mono", href: `/transfers/${transfer.id}` }, transfer.id.slice(0, 8)));
    const label = h("span", { id: `bytes-${transfer.id}` }, t("transfer.bytes"));
    this.element = h(
      "article",
      { class: "card", "aria-labelledby": title.id, dataset: { transfer: transfer.id } },
      h("header", null, title, h("div", { class: "row" }, place("begun", h("span", { class: "hint" })), place("state", h("span", { class: "badge" })))),
      place("meaning", h("p", { "aria-live": "polite" })),
      place("todo", h("ol", { hidden: true }, ["restart", "index", "release"].map((name) => h("li", null, t(`destination.todo.${name}`))))),
      place(
        "meter",
        h("div", { class: "meter" }, h("div", { class: "spread" }, label, place("bytes", h("span", { class: "number" }))), place("bar", h("progress", { class: "progress", max: 1, "aria-labelledby": label.id }))),
      ),
      h("dl", { class: "facts" }, [...MOVED, "failed", "speed", "eta", "kept"].map(fact)),
      place("warnings", h("ul", { hidden: true })),
      place("said", h("p", { class: "problem", role: "alert", hidden: true })),
      place("actions", h("div", { class: "actions", role: "group", "aria-label": t("transfer.actions") })),
    );
  }

  show(transfer) {
    this.transfer = transfer;
    const { places } = this;
    const { state, rate } = transfer;
    const runs = RUNNING.includes(state);
    const { done, total } = transfer.bytes;
    const of = (part) => t("transfer.done_of", { done: count(part.done), total: count(part.total) });
    const share = total ? ` (${percent(Math.min(1, done / total))})` : "";
    const texts = {
      state: t(`transfer.state.${state}`),
      begun: transfer.created_at ? t("destination.incoming.begun", { when: date(transfer.created_at) }) : "",
      meaning: this.meaning(transfer),
      bytes: t("transfer.done_of", { done: bytes(done), total: bytes(total) }) + share,
      documents: of(transfer.documents),
      files: of(transfer.files),
      failed: count(transfer.files.failed),
      speed: t("transfer.per_second", { value: bytes(rate.bytes_per_second) }) + (rate.files_per_second ? `, ${t("destination.incoming.files_rate", { value: decimal(rate.files_per_second) })}` : ""),
      eta: transfer.eta_seconds === null ? t("transfer.eta_unknown") : duration(transfer.eta_seconds),
      kept: transfer.rollback_until ? date(transfer.rollback_until) : "",
    };
    for (const [name, text] of Object.entries(texts)) setText(places[name], text);
    places.state.className = `badge ${toneOf(state)}`;
    places.state.dataset.state = state;
    places.todo.hidden = !transfer.actions?.includes("release-maintenance");
    places.bar.max = Math.max(1, total);
    places.bar.value = Math.min(done, places.bar.max);
    places.bar.className = `progress ${done >= total && total ? "good" : ""}`;
    places.meter.hidden = state === "cancelled";
    places.failedFact.hidden = transfer.files.failed === 0;
    places.speedFact.hidden = places.etaFact.hidden = !runs;
    places.keptFact.hidden = !transfer.rollback_until;
    this.warnings(transfer.warnings);
    fillActions(places.actions, places.said, transfer, this.changed);
  }

  meaning({ state, rate, bytes: { done } }) {
    const rests = state === "copying" && rate.bytes_per_second + rate.files_per_second + rate.documents_per_second === 0;
    return t(`destination.meaning.${rests ? (done ? "resting" : "beginning") : state}`);
  }

  warnings(warnings) {
    const told = warnings.map(({ code }) => code).join(" ");
    if (this.told === told) return;
    this.told = told;
    this.places.warnings.hidden = warnings.length === 0;
    fill(this.places.warnings, warnings.map(({ code, message }) => h("li", null, message, " ", h("code", null, code))));
  }
}
