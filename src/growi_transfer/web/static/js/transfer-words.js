// Words of states and codes, in one place.

import { hasText, t } from "./i18n.js";
import { shownState } from "./transfer-states.js";

/** What a state is called. */
export function stateWord(transfer) {
  return t(`transfer.state.${shownState(transfer)}`);
}

/** A sentence on what happens now, for somebody who does not know the words. */
export function sentence(transfer, details) {
  const { role, state, lag, interrupted } = transfer;
  if (interrupted) return `${t("transfer.now.interrupted")} ${t("transfer.came_from", { state: t(`transfer.state.${state}`) })}`;
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
