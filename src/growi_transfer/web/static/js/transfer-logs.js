// The log of a transfer: its last lines, and those that come.

import { get } from "./api.js";
import { fill, h, setText } from "./dom.js";
import { clock, date, t } from "./i18n.js";
import { logWords } from "./log-words.js";
import { errorText } from "./shell.js";

const KEPT = 500;
const LEVELS = ["info", "warning", "error"];

/** `{ element, refresh() }`: asks for what is new; false when it did not come. */
export function logsCard({ id, role }) {
  let level = "info";
  let after = "";
  let asking = false;
  let round = 0;
  const lines = h("ol", { class: "log" });
  const box = h("div", { class: "scroll tall log-box", tabindex: "0", role: "log", "aria-live": "off", "aria-labelledby": "log-heading" }, lines);
  const nothing = h("p", { class: "hint" }, t("transfer.log_nothing"));
  const problem = h("p", { class: "problem", hidden: true });
  const select = h(
    "select",
    {
      class: "switch",
      "aria-label": t("transfer.log_level"),
      on: {
        change: (event) => {
          level = event.target.value;
          after = "";
          round += 1;
          asking = false;
          fill(lines);
          refresh();
        },
      },
    },
    LEVELS.map((name) => h("option", { value: name }, t(`transfer.log_from_${name}`))),
  );
  const element = h("section", { class: "card", id: "log", "aria-labelledby": "log-heading" }, h("header", null, h("h2", { id: "log-heading" }, t("transfer.log")), select), nothing, box, problem);

  async function refresh() {
    if (asking) return true;
    asking = true;
    const mine = round;
    try {
      const answer = await get(`/transfers/${id}/logs?role=${role}&level=${level}&limit=200&after=${after}`);
      if (mine !== round) return true;
      problem.hidden = true;
      after = answer.next;
      show(answer.logs);
      return true;
    } catch (error) {
      if (mine !== round) return true;
      setText(problem, errorText(error));
      problem.hidden = false;
      return false;
    } finally {
      if (mine === round) asking = false;
    }
  }

  function show(logs) {
    // Whoever has scrolled back is left there.
    const follows = box.scrollTop + box.clientHeight >= box.scrollHeight - 8;
    lines.append(...logs.map(line));
    while (lines.childElementCount > KEPT) lines.firstElementChild.remove();
    nothing.hidden = lines.childElementCount > 0;
    box.hidden = !nothing.hidden;
    if (follows && logs.length) box.scrollTop = box.scrollHeight;
  }

  return { element, refresh };
}

function line({ at, level, event, message, details }) {
  return h("li", { class: level }, h("time", { class: "number", datetime: at, title: date(at) }, clock(at)), " ", level === "info" ? null : [h("strong", null, t(`transfer.log_${level}`)), " "], h("span", { class: "break" }, logWords({ event, message, details })), " ", h("span", { class: "quiet" }, event));
}
