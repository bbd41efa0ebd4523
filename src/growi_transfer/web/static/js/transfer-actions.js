// What an admin can do with a transfer: a button for each step that its state and role allow.

import { send } from "./api.js";
import { fill, h, setText } from "./dom.js";
import { t } from "./i18n.js";
import { confirmDialog, errorText } from "./shell.js";

export const RUNNING = ["copying", "reconciling", "indexing", "verifying"];
const BEFORE_COMMIT = ["created", "checked", ...RUNNING, "ready", "paused", "failed"];

// `ask` is asked before the step; a step without it can be taken back.
const ACTIONS = [
  { verb: "pause", label: "transfer.action.pause", roles: ["pusher"], when: (one) => RUNNING.includes(one.state) },
  { verb: "resume", label: "transfer.action.resume", roles: ["pusher"], when: (one) => ["paused", "failed"].includes(one.state), main: true },
  { verb: "retry", label: "transfer.action.retry", roles: ["pusher"], when: (one) => one.files.failed > 0 && ["paused", "failed"].includes(one.state) },
  { verb: "commit", label: "transfer.action.commit", when: (one) => one.state === "ready", main: true, ask: "transfer.ask.commit" },
  { verb: "rollback", label: "transfer.action.rollback", when: (one) => one.state === "completed" && one.rollback_until !== null, ask: "transfer.ask.rollback" },
  { verb: "release-maintenance", label: "transfer.action.release", roles: ["receiver"], when: (one) => one.state === "completed", ask: "transfer.ask.release" },
  { verb: "cancel", label: "transfer.action.cancel", when: (one) => BEFORE_COMMIT.includes(one.state), grave: true, ask: "transfer.ask.cancel" },
];

/** Put the buttons that fit into `place`; `said` shows a refusal; `changed` gets the transfer as it is after a step. */
export function fillActions(place, said, transfer, changed) {
  const fitting = ACTIONS.filter((action) => (action.roles ?? [transfer.role]).includes(transfer.role) && action.when(transfer));
  const names = fitting.map((action) => action.verb).join(" ");
  if (place.dataset.verbs === names) return;
  place.dataset.verbs = names;
  const press = async (action) => {
    if (action.ask && !(await confirmDialog(t(action.ask), { confirm: t(action.label), cancel: t("common.do_nothing"), grave: action.grave }))) return;
    for (const one of place.children) one.disabled = true;
    said.hidden = true;
    try {
      const after = (await send("POST", `/transfers/${transfer.id}/${action.verb}`))?.transfer;
      if (after) changed(after);
    } catch (error) {
      setText(said, errorText(error));
      said.hidden = false;
    } finally {
      for (const one of place.children) one.disabled = false;
    }
  };
  const look = (action) => (action.main ? "button primary" : "button");
  fill(place, fitting.map((action) => h("button", { type: "button", class: look(action), dataset: { verb: action.verb }, on: { click: () => press(action) } }, t(action.label))));
}
