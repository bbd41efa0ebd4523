// Transfers as they are now, and each change from then on, for as long as the page is open: over WebSocket (Socket.IO), or
// server-sent events where WebSocket cannot be opened. After sleep, a lost line or a restart of the server the state is
// asked for again, so that what was missed does not matter.

import { API, ApiError, get, toLogin } from "./api.js";
import { readEvents } from "./event-stream.js";
import { connect } from "./socket-io.js";
import { isMoving } from "./transfer-states.js";

const FIRST_WAIT = 500;
const LONGEST_WAIT = 15_000;
const TICK = 5000;
const SILENT = 8000; // of one that moves is heard more often, while a process is at it
const ASLEEP = 20_000; // a timer of 5 s that comes this late has slept
const PROGRESS = "admin:g2gProgress";
export const WATCH_HEADER = "x-growi-transfer-watch";

/**
 * Watch one transfer (`transferId`), all of them, or the one of a watch link (`token`).
 *
 * `onSnapshot(transfer)` gets the JSON of `GET transfers/{id}`: first of every transfer as it is, then of each that changed.
 * `onConnection({ state, via, error })`: `state` is `connecting`, `live` (`via` says `socket` or `events`), `waiting` (it is
 * tried again by itself), `missing` (no such transfer) or `ended` (a watch link that is not valid any more); the last two
 * are final. `onReady()` once every present state was told. Returns `{ close(), refresh() }`.
 */
export function watch({ transferId, token, onSnapshot, onConnection = () => {}, onReady = () => {}, origin = globalThis.location?.origin, Socket }) {
  return new Watch({ transferId, token, onSnapshot, onConnection, onReady, origin, Socket });
}

class Watch {
  constructor(options) {
    Object.assign(this, options);
    this.known = new Map();
    this.heard = new Map();
    this.asked = new Map(); // transfers that are asked for; true: once more after that
    this.waits = 0;
    this.round = 0;
    this.stopLine = () => {};
    this.leaving = new AbortController();
    this.listen();
    this.begin();
  }

  close() {
    this.leaving.abort();
    this.stop();
    clearInterval(this.ticking);
  }

  // the line

  begin() {
    this.stop();
    this.say("connecting");
    const round = this.round;
    const present = (call) => (...values) => this.round === round && call(...values);
    this.stopLine = connect({
      url: this.origin,
      namespace: "/admin",
      auth: this.token ? { watch: this.token } : {},
      Socket: this.Socket,
      onConnect: present(() => this.catchUp("socket", round)),
      onEvent: present((name, data) => name === PROGRESS && this.event(data.transfer)),
      onClose: present(({ opened }) => (opened ? this.again() : this.beginEvents(present, round))),
    });
  }

  beginEvents(present, round) {
    // The stream of one transfer ends with it; these never do.
    const path = this.token ? "/watch/events" : "/events";
    this.stopLine = readEvents({
      url: this.origin + API + path,
      headers: this.headers(),
      onOpen: present(() => this.catchUp("events", round)),
      onEvent: present((name, data) => name === "transfer" && this.event(data.transfer)),
      onClose: present(({ opened, status }) => (opened || status === 0 ? this.again() : this.explain(round))),
    });
  }

  stop() {
    this.round += 1; // whatever an earlier line still says is not heard
    clearTimeout(this.waiting);
    this.waiting = null;
    this.early = null;
    this.stopLine();
    this.stopLine = () => {};
  }

  again(error) {
    this.stop();
    this.say("waiting", { error });
    this.waiting = setTimeout(() => this.begin(), waitAfter(this.waits));
    this.waits += 1;
  }

  final(state, error) {
    this.close();
    this.say(state, { error });
  }

  say(state, more = {}) {
    this.state = state;
    this.via = more.via;
    this.onConnection({ state, ...more });
  }

  // what is told

  /** The state as it is, then what came over the line while it was asked for. */
  async catchUp(via, round) {
    this.early ??= [];
    // Of two that ask at once the later one counts: the answer of the other may be older than what the line has told.
    const number = (this.asking = (this.asking ?? 0) + 1);
    const stands = () => this.round === round && this.asking === number;
    let transfers;
    try {
      transfers = await this.present();
    } catch (error) {
      if (stands()) this.refused(error);
      return;
    }
    if (!stands()) return;
    for (const transfer of transfers) this.tell(transfer);
    const early = this.early ?? [];
    this.early = null;
    for (const transfer of early) this.event(transfer);
    this.waits = 0;
    this.say("live", { via });
    this.onReady();
  }

  /** A line was refused: the request for the state says why, and what to do about it. */
  async explain(round) {
    try {
      await this.present();
      if (this.round === round) this.again();
    } catch (error) {
      if (this.round === round) this.refused(error);
    }
  }

  async present() {
    const options = { headers: this.headers(), login: false };
    if (this.token) return [(await this.ask("/watch", options)).transfer];
    if (this.transferId) return [(await this.ask(`/transfers/${this.transferId}`, options)).transfer];
    return (await this.ask("/transfers", options)).transfers.reverse(); // oldest first, like events
  }

  ask(path, options) {
    return get(path, { ...options, origin: this.origin });
  }

  headers() {
    return this.token ? { [WATCH_HEADER]: this.token } : {};
  }

  refused(error) {
    if (!(error instanceof ApiError)) throw error;
    if (this.token && error.status === 403) this.final("ended", error);
    else if (error.code === "admin_required") {
      this.final("ended", error);
      toLogin();
    } else if (error.status === 404) this.final("missing", error);
    else this.again(error);
  }

  event(transfer) {
    if (this.transferId && transfer.id !== this.transferId) return;
    if (this.early) {
      this.early.push(transfer);
      return;
    }
    const before = this.known.get(nameOf(transfer));
    this.tell({ ...before, ...transfer });
    // Events do not say when it was made, until when a rollback is possible and what can be done.
    const other = before?.state !== transfer.state || before.files.failed > 0 !== transfer.files.failed > 0;
    if (before?.interrupted || (!this.token && other)) this.askFor(transfer);
  }

  /** Ask for those that should move and of which nothing is heard: nobody tells that a process has gone. */
  askSilent(now) {
    if (this.state !== "live" || globalThis.document?.visibilityState === "hidden") return;
    for (const [name, transfer] of this.known) {
      if (transfer.role !== "pusher" || !isMoving(transfer.state) || transfer.interrupted || now - this.heard.get(name) < SILENT) continue;
      this.heard.set(name, now);
      this.askFor(transfer);
    }
  }

  /** What an event does not say. `failures`: how often in a row the answer was lost. */
  async askFor({ id, role }, failures = 0) {
    const name = nameOf({ id, role });
    if (this.asked.has(name)) {
      this.asked.set(name, true); // the answer under way may be older than this
      return;
    }
    this.asked.set(name, false);
    let again = false;
    let lost = false;
    const round = this.round;
    try {
      const { transfer } = await this.ask(this.token ? "/watch" : `/transfers/${id}`, { headers: this.headers(), login: false });
      again = this.asked.get(name);
      if (transfer.role === role && !again) this.tell({ ...this.known.get(name), ...transfer });
    } catch (error) {
      lost = !(error.status >= 400 && error.status < 500); // a refusal would come again
    } finally {
      this.asked.delete(name);
    }
    if (again) this.askFor({ id, role });
    // There may be no other change that would ask again. A new line asks for everything.
    else if (lost) setTimeout(() => this.round === round && this.askFor({ id, role }, failures + 1), waitAfter(failures));
  }

  tell(transfer) {
    if (this.leaving.signal.aborted) return;
    this.known.set(nameOf(transfer), transfer);
    this.heard.set(nameOf(transfer), Date.now());
    this.onSnapshot(transfer);
  }

  // sleep, and pages that come back

  listen() {
    let last = Date.now();
    this.ticking = setInterval(() => {
      const now = Date.now();
      if (now - last > ASLEEP) this.wake();
      else this.askSilent(now);
      last = now;
    }, TICK);
    this.ticking.unref?.();
    const options = { signal: this.leaving.signal };
    globalThis.document?.addEventListener("visibilitychange", () => document.visibilityState === "visible" && this.refresh(), options);
    globalThis.addEventListener?.("online", () => this.wake(), options);
    globalThis.addEventListener?.("pageshow", (event) => event.persisted && this.wake(), options);
    globalThis.addEventListener?.("pagehide", () => this.stop(), options);
  }

  /** Somebody looks again, or has done something: do not let them wait. */
  refresh() {
    if (this.state === "waiting") this.wake();
    else if (this.state === "live") this.catchUp(this.via, this.round);
  }

  /** A line that was open before a sleep may be dead without knowing. */
  wake() {
    if (this.leaving.signal.aborted) return;
    this.waits = 0;
    this.begin();
  }
}

/** Milliseconds after so many failures in a row; pages that lost a line together do not come back together. */
function waitAfter(failures) {
  return Math.min(FIRST_WAIT * 2 ** failures, LONGEST_WAIT) * (0.5 + Math.random());
}

function nameOf({ id, role }) {
  return `${role} ${id}`;
}
