// What a preflight found: what stands against a push, and what has to be agreed to, one by one.

import { h } from "./dom.js";
import { findingWords } from "./finding-words.js";
import { ago, bytes, count, duration, t } from "./i18n.js";

/** The card of a report. `onAccept(code, accepted)` when a warning is agreed to, or not any more. */
export function reportCard(report, { origin, accepted, onAccept }) {
  const { blockers, warnings, destination, counts } = report;
  const verdict = blockers.length ? ["bad", "source.verdict_blocked"] : warnings.length ? ["warn", "source.verdict_warnings"] : ["good", "source.verdict_clear"];
  return h(
    "section",
    { class: "card", id: "report", "aria-labelledby": "report-heading" },
    h("header", null, h("h2", { id: "report-heading", tabindex: "-1" }, t("source.report_heading")), h("span", { class: "hint" }, t("source.checked_at", { when: ago(report.checked_at) }))),
    h("p", { class: `note ${verdict[0]}`, role: "status" }, t(verdict[1], { count: blockers.length || warnings.length })),
    h(
      "dl",
      { class: "facts" },
      fact("source.destination", origin),
      fact("source.destination_version", destination.version ?? t("source.not_told")),
      fact("source.destination_storage", destination.attachmentInfo?.type ?? t("source.not_told")),
      fact("source.line", report.bytes_per_second === null ? t("source.not_measured") : t("transfer.per_second", { value: bytes(report.bytes_per_second) })),
      fact("source.expected", report.expected_seconds === null ? t("source.not_known") : duration(report.expected_seconds)),
      fact("source.what_moves", t("source.what_moves_value", { documents: count(counts.documents), files: count(counts.attachments_moving) })),
    ),
    blockers.length ? findings("source.blockers", blockers.map((one) => finding(one, "bad"))) : null,
    warnings.length ? findings("source.warnings", warnings.map((one) => finding(one, "warn", { accepted: accepted.includes(one.code), onAccept }))) : null,
  );
}

function fact(key, value) {
  return h("div", null, h("dt", null, t(key)), h("dd", null, value));
}

function findings(key, items) {
  return h("div", { class: "stack" }, h("h3", null, t(key)), items);
}

/** One finding: what it is, what the server says of it, what to do; a warning with a box to agree to it. */
function finding(found, tone, choice) {
  const { code } = found;
  const { title, text, todo, names } = findingWords(found);
  return h(
    "article",
    { class: `note ${tone} finding`, dataset: { code } },
    h("p", null, h("strong", null, title ?? text), " ", h("code", null, code)),
    title && text ? h("p", null, text) : null,
    todo ? h("p", null, h("strong", null, t("source.what_to_do")), " ", todo) : null,
    names.length
      ? h("details", null, h("summary", null, t("source.names", { count: names.length })), h("ul", null, names.map((name) => h("li", { class: "break" }, name))))
      : null,
    choice
      ? h(
          "label",
          { class: "check accept" },
          h("input", { type: "checkbox", checked: choice.accepted, dataset: { accept: code }, on: { change: (event) => choice.onAccept(code, event.target.checked) } }),
          h("span", null, t("source.accept")),
        )
      : null,
  );
}
