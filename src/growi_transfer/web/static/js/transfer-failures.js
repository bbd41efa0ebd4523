// Files that could not be moved, with the reason: all of them, by page. Without the server's list (a watch link) those of
// the snapshot, without their names.

import { get, send } from "./api.js";
import { fill, h, setText } from "./dom.js";
import { bytes, count, hasText, language, t } from "./i18n.js";
import { confirmDialog, errorText } from "./shell.js";
import { errorWords } from "./transfer-words.js";

const SHOWN = 10;

/** `{ element, show(transfer), refresh() }`, `refresh` with false when the list did not come; `onLeft(transfer)` when somebody has let the failed ones stay behind. */
export function failuresCard({ id, role, readOnly, onLeft }) {
  const body = h("ul", { class: "rows" });
  const total = h("span", { class: "badge bad" });
  const where = h("span", { class: "hint number", role: "status" });
  const first = h("button", { type: "button", class: "button small", on: { click: () => turn([]) } }, t("transfer.failures_first"));
  const next = h("button", { type: "button", class: "button small" }, t("transfer.failures_next"));
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  const leave = h("button", { type: "button", class: "button small", id: "leave-behind", hidden: true, on: { click: leaveBehind } }, t("transfer.leave"));
  const pages = h("div", { class: "row" }, first, next, where);
  const element = h(
    "section",
    { class: "card", id: "failures", hidden: true, "aria-labelledby": "failures-heading" },
    h("header", null, h("h2", { id: "failures-heading" }, t("transfer.failures")), h("div", { class: "row" }, leave, total)),
    h("p", { class: "hint" }, t("transfer.failures_hint")),
    body,
    pages,
    problem,
  );
  let before = []; // where the pages before this one began
  let failed = 0;
  let present = [];
  let asked = 0;
  let shown = "";

  next.addEventListener("click", () => turn([...before, next.dataset.after]));

  function turn(starts) {
    before = starts;
    return refresh();
  }

  /** Go on without the files that failed, by the codes of their faults. */
  async function leaveBehind() {
    const codes = [...new Set(present.filter(({ kind }) => kind === "file").map(({ code }) => code))];
    const list = h("ul", null, codes.map((code) => h("li", null, reason(code, ""), " ", h("code", null, code))));
    if (!(await confirmDialog(t("transfer.ask.leave"), { title: t("transfer.leave"), confirm: t("transfer.leave"), cancel: t("common.do_nothing"), more: list }))) return;
    leave.disabled = true;
    problem.hidden = true;
    try {
      onLeft((await send("POST", `/transfers/${id}/resume`, { accept_warnings: codes })).transfer);
    } catch (error) {
      setText(problem, errorText(error));
      problem.hidden = false;
    } finally {
      leave.disabled = false;
    }
  }

  async function refresh() {
    if (readOnly || failed === 0) return true;
    const number = (asked += 1);
    try {
      const answer = await get(`/transfers/${id}/failures?role=${role}&limit=${SHOWN}&after=${before.at(-1) ?? ""}`);
      if (number !== asked) return true;
      problem.hidden = true;
      if (answer.failures.length === 0 && before.length) return turn([]);
      // A row of the ledger keeps the code alone; the snapshot has the sentence, of the newest ones.
      const told = new Map(present.map((one) => [one.item, one.message]));
      draw(answer.total ? answer.failures.map((one) => ({ ...one, message: told.get(one.item) ?? one.message })) : present);
      next.disabled = answer.next === null;
      next.dataset.after = answer.next ?? "";
      first.disabled = before.length === 0;
      const from = before.length * SHOWN;
      pages.hidden = answer.total <= SHOWN;
      setText(where, t("list.where", { first: count(from + 1), last: count(from + answer.failures.length), total: count(answer.total) }));
      return true;
    } catch (error) {
      if (number !== asked) return true;
      setText(problem, errorText(error));
      problem.hidden = false;
      return false;
    }
  }

  function draw(failures) {
    const told = JSON.stringify(failures);
    if (told === shown) return;
    shown = told;
    fill(body, failures.map(row));
  }

  return {
    element,
    refresh,
    show({ files, failures, state, actions }) {
      leave.hidden = readOnly || state !== "failed" || !(actions ?? []).includes("retry");
      present = failures;
      const ranges = failures.filter(({ kind }) => kind !== "file").length;
      element.hidden = files.failed + ranges === 0;
      setText(total, count(files.failed + ranges));
      if (readOnly || (files.failed === 0 && ranges)) {
        pages.hidden = true;
        draw(failures);
      } else if (files.failed !== failed) {
        failed = files.failed;
        refresh();
      }
      failed = files.failed;
    },
  };
}

function row({ item, code, message, bytes: size, tries }) {
  const more = [size ? bytes(size) : null, t("transfer.failure_tries", { count: tries })].filter(Boolean).join(" · ");
  return h("li", { class: "spread" }, h("div", { class: "grow" }, item ? h("p", { class: "break mono" }, item) : null, h("p", null, reason(code, message), " ", h("code", null, code))), h("span", { class: "hint number" }, more));
}

/** The server's sentence is the more exact one; it is English. */
function reason(code, message) {
  const ours = hasText(`reason.${code}`) ? t(`reason.${code}`) : "";
  return ours && (language() !== "en" || !message) ? ours : message ? errorWords(code, message) : code;
}
