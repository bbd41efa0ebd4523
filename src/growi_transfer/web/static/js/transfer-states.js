// States of transfers, without their words: in which order they come, which of them move, and their colours.

export const STEPS = ["checked", "copying", "reconciling", "indexing", "verifying", "ready", "committing", "completed"];
export const RUNNING = ["copying", "reconciling", "indexing", "verifying"];
const MOVING = ["created", "checked", ...RUNNING, "committing"];
const TONES = { completed: "good", ready: "good", failed: "bad", interrupted: "warn", paused: "warn", cancelled: "warn", rolled_back: "warn" };

/** The state as a person sees it: one that moves, while no process is at it, is `interrupted`. */
export function shownState({ state, interrupted }) {
  return interrupted ? "interrupted" : state;
}

/** The class of the badge of a state that is shown. */
export function toneOf(shown) {
  return TONES[shown] ?? "busy";
}

/** Whether something is being done. */
export function isMoving(state) {
  return MOVING.includes(state);
}

/** Whether documents and files are on their way. */
export function isRunning({ state, interrupted }) {
  return RUNNING.includes(state) && !interrupted;
}
