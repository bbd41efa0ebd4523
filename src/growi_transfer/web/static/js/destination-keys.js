// Transfer keys: issue one, hand it over, see what became of the others, revoke them.

import { get, send } from "./api.js";
import { fill, h, setText } from "./dom.js";
import { ago, date, duration, t } from "./i18n.js";
import { confirmDialog, errorText, showError, toast } from "./shell.js";

const AGAIN_MS = 15_000;
const SOON_SECONDS = 300;
const TONES = { free: "good", claimed: "", soon: "warn", expired: "", revoked: "" };

/** The card of keys, in `place`. `refresh()` asks for the list anew; it does so by itself every quarter of a minute. */
export class Keys {
  constructor(place) {
    this.ahead = 0; // the server's clock less ours, in ms
    this.keys = [];
    this.rows = [];
    this.issued = null;
    this.fresh = h("div", { class: "stack", "aria-live": "polite" });
    this.issueButton = h("button", { type: "button", class: "button primary", id: "issue", on: { click: () => this.issue() } }, t("destination.keys.issue"));
    this.said = h("p", { class: "problem", role: "alert", hidden: true });
    this.list = h("div", { class: "stack", id: "keys" });
    fill(
      place,
      h("header", null, h("h2", null, t("destination.keys.heading")), this.issueButton),
      h("p", { class: "hint" }, t("destination.keys.what")),
      this.said,
      this.fresh,
      this.list,
    );
    setInterval(() => this.tick(), 1000);
    setInterval(() => document.visibilityState === "visible" && this.refresh(), AGAIN_MS);
  }

  now() {
    return Date.now() + this.ahead;
  }

  async refresh() {
    try {
      const { keys, now } = await get("/keys");
      this.ahead = new Date(now).getTime() - Date.now();
      this.keys = keys;
      this.draw();
    } catch (error) {
      if (this.keys.length === 0) showError(error);
    }
  }

  // a new key

  async issue() {
    this.issueButton.disabled = true;
    this.said.hidden = true;
    try {
      const { transferKey, key, now } = await send("POST", "/generate-key");
      this.ahead = new Date(now).getTime() - Date.now();
      this.issued = { id: key.id, left: h("strong", { class: "number" }) };
      this.keys = [key, ...this.keys];
      this.drawIssued(transferKey, key);
      this.draw();
    } catch (error) {
      setText(this.said, errorText(error));
      this.said.hidden = false;
    } finally {
      this.issueButton.disabled = false;
    }
  }

  drawIssued(text, key) {
    const box = h("textarea", { class: "input", id: "new-key", rows: "3", readOnly: true, value: text, spellcheck: "false", autocomplete: "off", "aria-describedby": "new-key-about" });
    box.addEventListener("focus", () => box.select());
    const copy = h("button", { type: "button", class: "button primary", id: "copy-key", on: { click: () => copyText(box) } }, t("destination.keys.copy"));
    const done = h("button", { type: "button", class: "button quiet", on: { click: () => this.forget() } }, t("destination.keys.hide"));
    fill(
      this.fresh,
      h(
        "div",
        { class: "note good stack" },
        h("div", { class: "field" }, h("label", { for: "new-key" }, t("destination.keys.new")), box),
        h("div", { class: "actions" }, copy, done),
        h(
          "div",
          { id: "new-key-about", class: "stack" },
          h("p", null, t("destination.keys.once")),
          h("p", { class: "break" }, t("destination.keys.leads_to"), " ", h("code", null, key.audience)),
          // The time runs: it is not read out each second.
          h("p", { "aria-live": "off" }, t("destination.keys.use_within"), " ", this.issued.left),
          h("p", null, t("destination.keys.hand_over")),
        ),
      ),
    );
    copy.focus();
    this.tick();
  }

  forget() {
    this.issued = null;
    fill(this.fresh);
    this.issueButton.focus();
  }

  // the list

  draw() {
    this.rows = [];
    const alive = this.keys.filter((key) => key.state === "valid");
    const over = this.keys.filter((key) => key.state !== "valid");
    const issued = this.issued && this.keys.find((key) => key.id === this.issued.id);
    if (issued && (issued.state !== "valid" || issued.claimed_by)) {
      // It does what it was made for, or is over: nobody has to copy it any more.
      this.issued = null;
      fill(this.fresh);
      if (issued.claimed_by) toast(t("destination.keys.taken"), { kind: "good" });
    }
    const open = this.list.querySelector("details")?.open ?? false;
    const focused = document.activeElement?.dataset?.revoke;
    fill(
      this.list,
      alive.length ? this.rowsOf(alive) : h("p", { class: "quiet" }, t(over.length ? "destination.keys.none_valid" : "destination.keys.none")),
      over.length ? h("details", { open }, h("summary", null, t("destination.keys.ended", { count: over.length })), this.rowsOf(over)) : null,
    );
    if (focused) this.list.querySelector(`[data-revoke="${focused}"]`)?.focus();
    this.tick();
  }

  rowsOf(keys) {
    return h("ul", { class: "rows" }, keys.map((key) => this.row(key)));
  }

  row(key) {
    const id = key.id.slice(0, 8);
    const state = h("span", { class: "badge" });
    const ends = h("span");
    const issued = h("time", { datetime: key.issued_at, title: date(key.issued_at) });
    this.rows.push({ key, state, ends, issued });
    const revoke = h("button", { type: "button", class: "button small", "aria-label": t("destination.keys.revoke_one", { id }), dataset: { revoke: key.id }, on: { click: () => this.revoke(key) } }, t("destination.keys.revoke"));
    const transfer = key.claimed_by && h("a", { class: "mono", href: `/transfers/${key.claimed_by}` }, key.claimed_by.slice(0, 8));
    return h(
      "li",
      { class: "spread", dataset: { key: key.id } },
      h("div", { class: "row" }, h("span", { class: "mono" }, id), state),
      h("div", { class: "row grow quiet" }, issued, ends, transfer ? h("span", null, t("destination.keys.for"), " ", transfer) : null),
      key.state === "valid" ? revoke : null,
    );
  }

  async revoke(key) {
    const text = t(key.claimed_by ? "destination.keys.ask_claimed" : "destination.keys.ask");
    if (!(await confirmDialog(text, { title: t("destination.keys.ask_title", { id: key.id.slice(0, 8) }), confirm: t("destination.keys.revoke"), cancel: t("common.do_nothing"), grave: true }))) return;
    try {
      await send("DELETE", `/keys/${key.id}`);
      if (this.issued?.id === key.id) this.forget();
      await this.refresh();
      toast(t("destination.keys.revoked_done"), { kind: "good" });
    } catch (error) {
      showError(error);
    }
  }

  // time runs

  tick() {
    let ended = false;
    for (const { key, state, ends, issued } of this.rows) {
      setText(issued, t("destination.keys.issued", { when: ago(key.issued_at, this.now()) }));
      const left = this.left(key);
      const word = wordOf(key, left);
      state.className = `badge ${TONES[word]}`;
      setText(state, t(`destination.keys.state.${word}`));
      setText(ends, key.state === "valid" && left > 0 ? t("destination.keys.ends", { time: duration(left) }) : "");
      ended ||= key.state === "valid" && left <= 0;
      if (this.issued?.id === key.id) setText(this.issued.left, duration(Math.max(0, left)));
    }
    if (ended) {
      for (const one of this.keys) if (one.state === "valid" && this.left(one) <= 0) one.state = "expired";
      this.draw();
    }
  }

  left(key) {
    return (Math.min(new Date(key.expires_at), new Date(key.ceiling_at)) - this.now()) / 1000;
  }
}

function wordOf(key, left) {
  if (key.state !== "valid") return key.state;
  if (left <= 0) return "expired";
  if (key.claimed_by) return "claimed";
  return left < SOON_SECONDS ? "soon" : "free";
}

/** Copy what a box holds. Over plain HTTP browsers have no clipboard for scripts, but a selection can be copied. */
async function copyText(box) {
  let copied = false;
  try {
    await navigator.clipboard.writeText(box.value);
    copied = true;
  } catch {
    box.focus();
    box.select();
    copied = document.execCommand("copy");
  }
  toast(t(copied ? "destination.keys.copied" : "destination.keys.not_copied"), { kind: copied ? "good" : "info" });
}
