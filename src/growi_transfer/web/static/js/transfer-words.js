// Words and colours of states, in one place.

import { hasText, t } from "./i18n.js";

export const STEPS = ["checked", "copying", "reconciling", "indexing", "verifying", "ready", "committing", "completed"];
export const RUNNING = ["copying", "reconciling", "indexing", "verifying"];
const MOVING = ["created", "checked", ...RUNNING, "committing"];
const TONES = { completed: "good", ready: "good", failed: "bad", paused: "warn", cancelled: "warn", rolled_back: "warn" };

/** The class of a state's badge. */
export function toneOf(state) {
  return TONES[state] ?? "busy";
}

/** Whether something is being done. */
export function isMoving(state) {
  return MOVING.includes(state);
}

/** A sentence on what happens now, for somebody who does not know the words. */
export function sentence(transfer, details) {
  const { role, state, lag } = transfer;
  const following = state === "ready" && lag?.following ? `transfer.now.${role}.ready_following` : "";
  if (following && hasText(following)) return t(following);
  const came = details?.came_from;
  const text = t(`transfer.now.${role}.${state}`);
  return came && state === "paused" ? `${text} ${t("transfer.came_from", { state: t(`transfer.state.${came}`) })}` : text;
}

/** The catalogue's text of an error code beside the server's own sentence; the sentence alone where there is none. */
export function errorWords(code, message) {
  const key = `error.${code}`;
  return hasText(key) ? t(key, { message }) : message || code;
}
