// The top of a transfer: where it is, what happens now, how far it has come, what can be done.

import { h, setText } from "./dom.js";
import { bytes, count, date, decimal, duration, t } from "./i18n.js";
import { timeLeft } from "./rates.js";
import { STEPS, isRunning, shownState, toneOf } from "./transfer-states.js";
import { errorWords, sentence, stateWord } from "./transfer-words.js";
import { watchLinkButton } from "./watch-link.js";

const BARS = ["bytes", "documents", "files"];
const FACTS = ["speed", "document_speed", "file_speed", "eta", "wire", "failed", "skipped"];
const ENDED = ["completed", "rolled_back", "cancelled"];
const PROVED = ["ready", "committing", "completed"];

/** `{ element, actions, said, show(transfer, details, samples) }`; buttons are put into `actions`, a refusal into `said`. */
export function headCard({ id, role, readOnly }) {
  const places = {};
  const place = (name, element) => (places[name] = element);
  const badge = h("span", { class: "badge" });
  const steps = STEPS.map((step) => place(`step-${step}`, h("li", null, t(`transfer.state.${step}`))));
  const now = h("p", { class: "now", role: "status" });
  const error = h("p", { class: "note bad", role: "alert", hidden: true });
  const errorText = h("span");
  const errorCode = h("code");
  error.append(errorText, " ", errorCode);
  const actions = h("div", { class: "actions", role: "group", "aria-label": t("transfer.actions") });
  const said = h("p", { class: "problem", role: "alert", hidden: true });
  const meters = BARS.map((name) => {
    const label = h("span", { id: `meter-${name}` }, t(`transfer.${name}`));
    const bar = place(`${name}Bar`, h("progress", { class: "progress", max: 1, "aria-labelledby": label.id }));
    return h("div", { class: "meter" }, h("div", { class: "spread" }, label, place(name, h("span", { class: "number" }))), bar);
  });
  const facts = h("dl", { class: "facts" }, FACTS.map((name) => h("div", { dataset: { fact: name } }, h("dt", null, t(`transfer.${name}`)), place(name, h("dd")))));
  const lag = h("dl", { class: "facts", id: "lag", hidden: true }, ["equal_as_of", "lag_seconds", "lag_differed", "commit"].map((name) => h("div", null, h("dt", null, t(`transfer.${name}`)), place(name, h("dd")))));
  const element = h(
    "section",
    { class: "card", id: "now", "aria-labelledby": "now-heading" },
    h("header", null, h("h2", { id: "now-heading" }, t("transfer.now_heading")), h("div", { class: "row" }, readOnly ? null : watchLinkButton({ id, role }), badge)),
    h("ol", { class: "steps", "aria-label": t("transfer.steps") }, steps),
    now,
    error,
    readOnly ? null : [actions, said],
    meters,
    facts,
    lag,
  );
  return {
    element,
    actions,
    said,
    show(transfer, details, samples) {
      const { state, rate, lag: behind } = transfer;
      const shown = shownState(transfer);
      badge.className = `badge ${toneOf(shown)}`;
      badge.dataset.state = shown;
      setText(badge, stateWord(transfer));
      setText(now, sentence(transfer, details));
      showSteps(places, transfer, details);
      const fault = state === "failed" ? details?.error : null;
      error.hidden = !fault;
      if (fault) {
        setText(errorText, errorWords(fault.code, fault.message));
        setText(errorCode, fault.code);
      }
      const running = isRunning(transfer);
      const left = running ? timeLeft(transfer.bytes, samples) ?? transfer.eta_seconds : null;
      write(places, {
        bytes: t("transfer.done_of", { done: bytes(transfer.bytes.done), total: bytes(transfer.bytes.total) }),
        documents: t("transfer.done_of", { done: count(transfer.documents.done), total: count(transfer.documents.total) }),
        files: t("transfer.done_of", { done: count(transfer.files.done), total: count(transfer.files.total) }),
        speed: t("transfer.per_second", { value: bytes(rate.bytes_per_second) }),
        document_speed: decimal(rate.documents_per_second),
        file_speed: decimal(rate.files_per_second),
        eta: left === null ? t("transfer.eta_unknown") : duration(left),
        wire: bytes(transfer.bytes.wire),
        failed: count(transfer.files.failed),
        skipped: count(transfer.files.skipped),
      });
      for (const name of ["speed", "document_speed", "file_speed", "eta"]) places[name].parentElement.hidden = !running;
      places.skipped.parentElement.hidden = transfer.files.skipped === 0;
      places.failed.classList.toggle("problem", transfer.files.failed > 0);
      for (const name of BARS) {
        const { done, total, skipped = 0 } = transfer[name];
        const bar = places[`${name}Bar`];
        bar.max = Math.max(1, total);
        bar.value = PROVED.includes(state) ? bar.max : Math.min(done + skipped, bar.max);
        bar.classList.toggle("good", PROVED.includes(state));
      }
      // After the end it says nothing any more: what was written since is a warning.
      lag.hidden = !behind || ENDED.includes(state);
      if (lag.hidden) return;
      write(places, {
        equal_as_of: behind.as_of ? date(behind.as_of) : t("transfer.last_reading"),
        lag_seconds: t("transfer.lag_seconds_value", { time: duration(behind.seconds) }),
        lag_differed: t("transfer.lag_differed_value", { documents: count(behind.documents), bytes: bytes(behind.bytes) }),
        commit: behind.commit_possible ? t(behind.following ? "transfer.commit_following" : "transfer.commit_possible") : t(`transfer.commit_not.${behind.reason}`),
      });
    },
  };
}

function write(places, texts) {
  for (const [name, text] of Object.entries(texts)) setText(places[name], text);
}

function showSteps(places, { state, interrupted }, details) {
  const stopped = ["paused", "failed"].includes(state) ? details?.came_from : state === "rolled_back" ? "completed" : state;
  const at = STEPS.indexOf(stopped);
  STEPS.forEach((step, index) => {
    const item = places[`step-${step}`];
    const tone = state === "failed" ? "now failed" : interrupted || ["paused", "rolled_back"].includes(state) ? "now paused" : "now";
    item.className = index < at || state === "completed" ? "done" : index === at ? tone : "";
    item.ariaCurrent = index === at && state !== "completed" ? "step" : null;
  });
}
