// The source's page: a key, what stands against a push, the plan, the start; and the pushes there were.

import { ApiError, send } from "./api.js";
import { byId, fill, h, setText } from "./dom.js";
import { t } from "./i18n.js";
import { bodyOf, firstChoice, originOfKey, unaccepted, whatMoves } from "./push-options.js";
import { errorText, startShell } from "./shell.js";
import { keyForm } from "./source-key.js";
import { planCards } from "./source-plan.js";
import { reportCard } from "./source-report.js";
import { transferList } from "./transfer-list.js";

const main = byId("main");
await startShell({ page: "source" });

const found = h("div", { class: "stack wide", id: "found" });
const choice = firstChoice();
const key = keyForm({ onCheck: check, onChange: forget });
const list = transferList({ role: "pusher", heading: "source.history", empty: "source.history_empty" });
fill(main, h("h1", null, t("source.heading")), h("p", { class: "quiet" }, t("source.intro")), key.element, found, list.element);

let report = null;
let reportOf = "";
let checks = 0;

// The browser may keep this page for the way back: the key is not in it any more, and what was found is of then.
globalThis.addEventListener("pageshow", (event) => event.persisted && forget());

/** Another key: what was found for the one before says nothing about it. */
function forget() {
  checks += 1;
  report = null;
  choice.accept = [];
  key.busy(false);
  fill(found);
}

async function check() {
  const number = (checks += 1);
  const asked = whatMoves(choice);
  key.say(null);
  busy(true);
  try {
    const answer = await send("POST", "/preflight", bodyOf(key.value(), { ...choice, bandwidth: choice.bandwidth || null }));
    if (number !== checks) return;
    report = answer;
    reportOf = asked;
    choice.accept = choice.accept.filter((code) => report.warnings.some((one) => one.code === code));
    draw();
    byId("report-heading").focus({ preventScroll: true });
    byId("report").scrollIntoView({ behavior: "smooth", block: "start" });
  } catch (error) {
    if (number !== checks) return;
    if (report) sayBelow(error);
    else refused(error);
  } finally {
    if (number === checks) busy(false);
  }
}

function refused(error) {
  key.say(error);
  key.input.focus();
  if (error instanceof ApiError && (error.details?.blockers ?? []).length) fill(found, h("ul", null, error.details.blockers.map((one) => h("li", null, one.message))));
}

function busy(is) {
  key.busy(is);
  for (const button of found.querySelectorAll("#again, #start")) {
    button.ariaBusy = String(is);
    button.disabled = is;
  }
  if (!is && report) update();
}

const problem = h("p", { class: "note bad", role: "alert", hidden: true, id: "start-problem" });
const why = h("p", { class: "hint", id: "start-why", role: "status" });
const again = h("button", { type: "button", class: "button", id: "again", on: { click: check } }, t("source.check_again"));
const start = h("button", { type: "button", class: "button primary", id: "start", "aria-describedby": "start-why", on: { click: begin } }, t("source.start"));

function draw() {
  const onAccept = (code, accepted) => {
    choice.accept = choice.accept.filter((one) => one !== code);
    if (accepted) choice.accept.push(code);
    // Two findings may have one code, and consent is given to codes.
    for (const box of found.querySelectorAll("[data-accept]")) if (box.dataset.accept === code) box.checked = accepted;
    update();
  };
  problem.hidden = true;
  fill(
    found,
    reportCard(report, { origin: originOfKey(key.value()), accepted: choice.accept, onAccept }),
    planCards(report, choice, { onChange: update }).element,
    h("section", { class: "card", "aria-labelledby": "start-heading" }, h("h2", { id: "start-heading" }, t("source.start_heading")), problem, why, h("div", { class: "actions" }, start, again)),
  );
  update();
}

/** Whether a start is possible, and if not, why. */
function update() {
  const obstacle = obstacleNow();
  start.disabled = obstacle !== null;
  again.className = obstacle === "stale" || obstacle === "blocked" ? "button primary" : "button";
  const open = unaccepted(report, choice).length;
  setText(start, t(choice.follow ? "source.start_follow" : choice.commit ? "source.start" : "source.start_stop"));
  setText(why, obstacle === null ? t(choice.merge ? "source.ready_merge" : "source.ready_replace") : t(`source.not_yet_${obstacle}`, { count: open }));
}

function obstacleNow() {
  if (choice.wrongPath || Number.isNaN(choice.bandwidth)) return "wrong";
  if (whatMoves(choice) !== reportOf) return "stale";
  if (report.blockers.length) return "blocked";
  return unaccepted(report, choice).length ? "unaccepted" : null;
}

async function begin() {
  problem.hidden = true;
  start.ariaBusy = "true";
  start.disabled = true;
  try {
    const { transferId } = await send("POST", "/transfer", bodyOf(key.value(), choice));
    key.input.value = "";
    location.assign(`/transfers/${transferId}`);
  } catch (error) {
    sayBelow(error);
    start.ariaBusy = "false";
    start.disabled = false;
  }
}

function sayBelow(error) {
  const listed = [...(error.details?.blockers ?? []), ...(error.details?.warnings ?? [])];
  fill(problem, errorText(error), listed.length ? h("ul", null, listed.map((one) => h("li", null, one.message))) : null);
  problem.hidden = false;
}
