// One transfer, live: for the admin of either side, and for the reader of a watch link, who can look and do nothing.

import { get } from "./api.js";
import { fill, h, setText } from "./dom.js";
import { t } from "./i18n.js";
import { WATCH_HEADER, watch } from "./live.js";
import { fillActions } from "./transfer-actions.js";
import { agreedCard } from "./transfer-agreed.js";
import { collectionsCard } from "./transfer-collections.js";
import { failuresCard } from "./transfer-failures.js";
import { rateGraph } from "./transfer-graph.js";
import { headCard } from "./transfer-head.js";
import { logsCard } from "./transfer-logs.js";
import { sendingCard } from "./transfer-sending.js";
import { tuning } from "./transfer-tuning.js";
import { isMoving, isRunning } from "./transfer-states.js";
import { stateWord } from "./transfer-words.js";

const LOOK = 2000;
const TICK = 1000;

/**
 * Show a transfer in `root`: one of this server (`transferId`), or that of a watch link (`token`). Returns `{ close() }`.
 */
export function showTransfer(root, { transferId, token }) {
  return new View(root, transferId, token);
}

class View {
  constructor(root, transferId, token) {
    this.token = token;
    this.readOnly = Boolean(token);
    this.transfer = null;
    this.details = null;
    this.missed = false; // something that was asked for did not come
    this.asked = 0;
    this.askedCollections = 0;
    this.line = h("p", { class: "line waiting", role: "status" });
    this.title = h("h1", null, t("transfer.heading_one"));
    this.id = h("p", { class: "hint mono break" });
    this.note = h("p", { class: "empty", hidden: true });
    this.cards = h("div", { class: "stack wide" });
    fill(root, h("div", { class: "spread" }, h("div", { class: "stack tight" }, this.title, this.id), this.line), this.note, this.cards);
    this.timers = [setInterval(() => this.tick(), TICK), setInterval(() => this.look(), LOOK)];
    this.watching = watch({
      transferId,
      token,
      onSnapshot: (transfer) => this.show(transfer),
      onConnection: (connection) => this.connection(connection),
    });
  }

  close() {
    this.timers.forEach(clearInterval);
    this.watching.close();
  }

  // parts

  /** Cards are made when the first snapshot says what it is. */
  build({ id, role }) {
    const path = `/transfers/${id}`;
    this.path = path;
    this.role = role;
    this.head = headCard({ id, role, readOnly: this.readOnly });
    this.graph = rateGraph(`${role}.${id}`);
    this.tuning = this.readOnly || role !== "pusher" ? null : tuning(id, { changed: () => this.askDetails() });
    this.sending = sendingCard();
    this.collections = collectionsCard();
    this.failures = failuresCard({ id, role, readOnly: this.readOnly, onLeft: (after) => this.ordered(after) });
    this.agreed = agreedCard();
    this.logs = this.readOnly ? null : logsCard({ id, role });
    if (this.tuning) this.tuning.element.hidden = true;
    fill(
      this.cards,
      this.head.element,
      this.failures.element,
      h("div", { class: "halves" }, h("div", { class: "stack wide" }, this.graph.element, this.sending.element), this.tuning?.element),
      this.collections.element,
      this.agreed.element,
      this.logs?.element,
    );
  }

  // what comes

  connection({ state }) {
    this.line.className = `line ${state === "live" ? "live" : "waiting"}`;
    this.line.dataset.state = state;
    setText(this.line, t(`common.line.${state}`));
    if (state === "missing" || state === "ended") {
      setText(this.note, t(state === "missing" ? "transfer.missing" : "transfer.link_ended"));
      this.note.hidden = false;
      this.timers.forEach(clearInterval);
    }
    // What is not part of a snapshot may have changed while the line was down.
    if (state === "live") this.askAll();
  }

  show(transfer) {
    // A wiki can be source and destination of one transfer only in tests; the first row that was told is the one shown.
    if (this.role && transfer.role !== this.role) return;
    if (!this.transfer) this.build(transfer);
    const changed = this.transfer?.state !== transfer.state || Boolean(this.transfer.interrupted) !== Boolean(transfer.interrupted);
    this.transfer = transfer;
    this.draw();
    if (changed) this.askAll();
  }

  /** After an order the answer is newer than what the line has told. */
  ordered(after) {
    this.show({ ...this.transfer, ...after });
    this.watching.refresh();
    this.askAll();
  }

  draw() {
    const { transfer, details } = this;
    const running = isRunning(transfer);
    if (running) this.graph.note(transfer.rate.bytes_per_second);
    else this.graph.draw(false);
    this.head.show(transfer, details, this.graph.samples);
    if (!this.readOnly) fillActions(this.head.actions, this.head.said, transfer, (after) => this.ordered(after), { faultOf: () => this.details?.error?.code });
    this.sending.show(transfer.activity, running);
    this.failures.show(transfer);
    this.agreed.show(transfer, details);
    this.graph.element.hidden = !running && this.graph.samples.length === 0;
    if (this.tuning) {
      const can = Boolean(details?.options && transfer.actions?.includes("tune"));
      this.tuning.element.hidden = !can;
      if (can) this.tuning.show(transfer, details);
    }
    const other = details?.destination;
    setText(this.title, other ? t("transfer.heading_to", { origin: other }) : t(`transfer.heading_${transfer.role}`));
    setText(this.id, transfer.id);
    document.title = t("transfer.title_state", { state: stateWord(transfer) });
  }

  // what is asked for

  askAll() {
    if (!this.transfer) return;
    this.askCollections();
    if (this.readOnly) return;
    this.askDetails();
    this.refresh(this.failures);
    this.refresh(this.logs);
  }

  async refresh(card) {
    if ((await card.refresh()) === false) this.missed = true;
  }

  async askDetails() {
    const number = (this.asked += 1);
    const details = await this.ask("/details");
    if (!details || number !== this.asked) return;
    this.details = details;
    this.draw();
  }

  async askCollections() {
    const number = (this.askedCollections += 1);
    const answer = await this.ask("/collections");
    if (number !== this.askedCollections) return;
    // What was sent is gone then, and its rows with it.
    const gone = ["cancelled", "rolled_back"].includes(this.transfer.state) || this.details?.purged_at;
    if (answer) this.collections.show(gone ? [] : answer.collections);
  }

  /** What a page can do without: a failure is told by the line, and the next look asks again. */
  async ask(what) {
    try {
      if (this.token) return await get(`/watch${what}`, { headers: { [WATCH_HEADER]: this.token }, login: false });
      return await get(`${this.path}${what}?role=${this.role}`);
    } catch {
      this.missed = true;
      return null;
    }
  }

  // time

  tick() {
    if (!this.transfer || document.visibilityState !== "visible") return;
    if (isRunning(this.transfer)) this.graph.note(this.transfer.rate.bytes_per_second);
    else if (!this.graph.element.hidden) this.graph.draw(false);
  }

  look() {
    if (!this.transfer || document.visibilityState !== "visible" || !(this.missed || isMoving(this.transfer.state))) return;
    const again = this.missed;
    this.missed = false;
    this.askCollections();
    if (this.readOnly) return;
    if (again) this.askDetails();
    this.refresh(this.failures);
    this.refresh(this.logs);
  }
}
