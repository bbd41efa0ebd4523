// What an admin can do with a transfer: a button for each step that the server says is possible.

import { get, send } from "./api.js";
import { fill, h, setText } from "./dom.js";
import { hasText, t } from "./i18n.js";
import { showReceipt } from "./receipts.js";
import { confirmDialog, errorText } from "./shell.js";

export const RUNNING = ["copying", "reconciling", "indexing", "verifying"];

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

/**
 * Put the buttons into `place` that `transfer.actions` names. `said` shows a refusal; `changed` gets the transfer as it is
 * after a step.
 */
export function fillActions(place, said, transfer, changed) {
  const fitting = ACTIONS.filter((action) => transfer.actions?.includes(action.verb));
  const names = fitting.map((action) => action.verb).join(" ");
  if (place.dataset.verbs === names) return;
  place.dataset.verbs = names;
  const focused = place.contains(document.activeElement);
  fill(place, fitting.map((action) => button(action, place, said, transfer, changed)));
  if (focused) place.querySelector("button")?.focus();
}

function button(action, place, said, transfer, changed) {
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
      await send("POST", `/transfers/${transfer.id}/${action.verb}`);
      changed((await get(`/transfers/${transfer.id}`)).transfer);
    } catch (error) {
      setText(said, errorText(error));
      said.hidden = false;
    } finally {
      pressed.ariaBusy = null;
      for (const one of all) one.disabled = false;
    }
  };
  return h("button", { type: "button", class: `button ${action.look ?? ""}`, dataset: { verb: action.verb }, on: { click: press } }, t(`transfer.action.${action.name}`));
}

function confirmed({ name, grave }, { role }) {
  const own = `transfer.ask.${name}.${role}`;
  const label = t(`transfer.action.${name}`);
  return confirmDialog(t(hasText(own) ? own : `transfer.ask.${name}`), { title: label, confirm: label, cancel: t("common.do_nothing"), grave });
}
