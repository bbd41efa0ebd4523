// What an admin can do with a transfer: a button for each step that the server says is possible.

import { get, send } from "./api.js";
import { fill, h, setText } from "./dom.js";
import { hasText, t } from "./i18n.js";
import { showReceipt } from "./receipts.js";
import { confirmDialog, errorText } from "./shell.js";

// In the order of the buttons. `ask`: what it will do is told first (`transfer.ask.<name>`, or `….<name>.<role>` where the
// two sides differ); a step without it can be taken back.
const ACTIONS = [
  { verb: "resume", name: "resume", look: "primary" },
  { verb: "pause", name: "pause" },
  { verb: "retry", name: "retry" },
  { verb: "commit", name: "commit", look: "primary", ask: true },
  { verb: "release-maintenance", name: "release", look: "primary", ask: true },
  { verb: "verify", name: "verify" },
  { verb: "receipt", name: "receipt", run: (transfer) => showReceipt(transfer.id) },
  { verb: "rollback", name: "rollback", ask: true, grave: true },
  { verb: "purge", name: "purge", ask: true, grave: true },
  { verb: "cancel", name: "cancel", ask: true, grave: true },
];

/** Errors of a resume that a new key can help. */
const WANTS_KEY = ["key_not_kept", "invalid_transfer_key"];

/**
 * Put the buttons into `place` that `transfer.actions` names. `said` shows a refusal; `changed` gets the transfer as it is
 * after a step; `faultOf()` is the code of the error it has failed by, if it has; `small` makes small ones.
 */
export function fillActions(place, said, transfer, changed, { faultOf = () => null, small = false } = {}) {
  const can = transfer.actions ?? [];
  // To try again what failed is to go on: one button for both.
  const fitting = ACTIONS.filter(({ verb }) => can.includes(verb) && !(verb === "resume" && transfer.state === "failed" && can.includes("retry")));
  const names = [transfer.state, ...fitting.map(({ verb }) => verb)].join(" ");
  if (place.dataset.verbs === names) return;
  place.dataset.verbs = names;
  const focused = place.contains(document.activeElement);
  fill(place, fitting.map((action) => button(action, { place, said, transfer, changed, faultOf, small })));
  if (focused) place.querySelector("button")?.focus();
}

function button(action, { place, said, transfer, changed, faultOf, small }) {
  const press = async (event) => {
    const pressed = event.currentTarget;
    if (action.run) {
      await action.run(transfer);
      return;
    }
    if (action.ask && !(await confirmed(action, transfer))) return;
    const all = [...place.children];
    for (const one of all) one.disabled = true;
    pressed.ariaBusy = "true";
    said.hidden = true;
    try {
      await order(action, transfer, faultOf());
      changed((await get(`/transfers/${transfer.id}`)).transfer);
    } catch (error) {
      setText(said, errorText(error));
      said.hidden = false;
    } finally {
      pressed.ariaBusy = null;
      for (const one of all) one.disabled = false;
    }
  };
  const look = action.look ?? (action.grave ? "grave" : action.verb === "retry" && transfer.state === "failed" ? "primary" : "");
  return h("button", { type: "button", class: `button ${look}${small ? " small" : ""}`, dataset: { verb: action.verb }, on: { click: press } }, t(`transfer.action.${nameOf(action, transfer)}`));
}

async function order({ verb }, { id }, fault) {
  const path = `/transfers/${id}/${verb}`;
  if (verb !== "resume" && verb !== "retry") return send("POST", path);
  // Without a valid key it would fail again at once. Who leaves the field empty tries it with the one there is.
  const known = WANTS_KEY.includes(fault);
  const key = known ? await newKey() : "";
  if (key === null) return null;
  try {
    return await (key ? resumeWith(id, key) : send("POST", path));
  } catch (error) {
    const given = WANTS_KEY.includes(error.code) && !known ? await newKey() : null;
    if (!given) throw error;
    return resumeWith(id, given);
  }
}

function resumeWith(id, transferKey) {
  return send("POST", `/transfers/${id}/resume`, { transferKey });
}

/** The key has ended or is not kept here: a new one of the same destination takes the transfer over. Null: nothing is to be done. */
async function newKey() {
  const input = h("input", { class: "input mono", type: "password", autocomplete: "one-time-code", spellcheck: "false", id: "new-key" });
  const field = h("div", { class: "field" }, h("label", { for: "new-key" }, t("source.key")), input);
  const label = t("transfer.action.resume");
  const given = await confirmDialog(t("transfer.ask.new_key"), { title: label, confirm: label, cancel: t("common.do_nothing"), more: field });
  return given ? input.value.trim() : null;
}

/** What is kept at a destination is something else after a rollback. */
function nameOf({ name }, { role, state }) {
  return name === "purge" && role === "receiver" && state === "rolled_back" ? "purge_rolled_back" : name;
}

function confirmed(action, transfer) {
  const { role, lag } = transfer;
  const name = nameOf(action, transfer);
  const own = name === "commit" && lag?.following ? "transfer.ask.commit_following" : `transfer.ask.${name}.${role}`;
  const label = t(`transfer.action.${name}`);
  return confirmDialog(t(hasText(own) ? own : `transfer.ask.${name}`), { title: label, confirm: label, cancel: t("common.do_nothing"), grave: action.grave });
}
