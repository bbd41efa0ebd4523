// What was agreed to and what came of it: warnings, the plan, options, and what GROWI's rules rewrote.

import { fill, h } from "./dom.js";
import { findingWords } from "./finding-words.js";
import { bytes, count, date, duration, hasText, t } from "./i18n.js";

/** `{ element, show(transfer, details) }`; `details` is null for a reader of a watch link. */
export function agreedCard() {
  const warnings = h("div", { class: "stack" });
  const facts = h("dl", { class: "facts" });
  const outcome = h("div", { class: "stack" });
  const element = h("section", { class: "card", id: "agreed", "aria-labelledby": "agreed-heading" }, h("h2", { id: "agreed-heading" }, t("transfer.agreed")), facts, warnings, outcome);
  let last = "";
  return {
    element,
    show(transfer, details) {
      const told = JSON.stringify([transfer.warnings, details && { ...details, transfer: null, updated_at: null }, transfer.rollback_until]);
      if (told === last) return;
      last = told;
      const accepted = new Map((details?.accepted_warnings ?? []).map((one) => [one.code, one]));
      // Faults of files that were accepted on the way are no warnings of the transfer.
      const warned = transfer.warnings.map(({ code }) => code);
      const all = [...transfer.warnings, ...[...accepted.values()].filter(({ code }) => !warned.includes(code))];
      fill(
        warnings,
        all.length
          ? [h("h3", null, t("transfer.warnings")), h("ul", { class: "warnings" }, all.map((one) => warning(one, accepted.get(one.code))))]
          : h("p", { class: "hint" }, t("transfer.no_warnings")),
      );
      fill(facts, shown(transfer, details).map(([key, value]) => h("div", null, h("dt", null, t(`transfer.${key}`)), h("dd", null, value))));
      fill(outcome, details?.told ? result(details.told) : null);
    },
  };
}

function warning(one, accepted) {
  const { title, text } = findingWords(one);
  return h(
    "li",
    null,
    title ?? text,
    " ",
    title && text ? [h("span", { class: "hint" }, text), " "] : null,
    h("code", null, one.code),
    accepted ? [" ", h("span", { class: "badge good" }, t("transfer.accepted_at", { when: date(accepted.accepted_at) }))] : null,
  );
}

function shown(transfer, details) {
  const facts = [["dialect", hasText(`transfer.dialect.${transfer.dialect}`) ? t(`transfer.dialect.${transfer.dialect}`) : transfer.dialect]];
  if (transfer.created_at) facts.push(["begun", date(transfer.created_at)]);
  if (transfer.rollback_until) facts.push(["kept", date(transfer.rollback_until)]);
  if (!details) return facts;
  const { preset, source, options, plan, excluded_collections: collections, excluded_paths: paths, seconds, freeze } = details;
  if (preset) facts.push(["preset", t(`transfer.preset_${preset}`)]);
  if (source?.version) facts.push(["source_version", source.version]);
  if (options) {
    facts.push(["end", t(options.follow ? "transfer.end_follow" : options.commit ? "transfer.end_commit" : "transfer.end_stop")]);
    if (options.attachments_first) facts.push(["order", t("transfer.attachments_first")]);
    facts.push(["deep", t(options.deep ? "common.yes" : "common.no")]);
    if (options.freeze) facts.push(["freeze", freeze?.seconds ? t("transfer.frozen_for", { time: duration(freeze.seconds) }) : t("transfer.freeze_wanted")]);
  }
  if (plan?.counts) {
    const { documents, document_bytes: size, attachments_moving: files, attachment_bytes: fileBytes } = plan.counts;
    facts.push(["planned", t("transfer.planned_value", { documents: count(documents), size: bytes(size), files: count(files), file_size: bytes(fileBytes) })]);
  }
  if (collections.length) facts.push(["excluded_collections", collections.join(", ")]);
  if (paths.length) facts.push(["excluded_paths", paths.join(", ")]);
  for (const phase of ["mongo", "attachments", "index", "verify", "commit"]) {
    if (seconds?.[phase] >= 0.05) facts.push([`seconds_${phase}`, duration(seconds[phase])]);
  }
  return facts;
}

function result({ rewritten = [], files_replaced: replaced, strays = [], merge }) {
  const sums = new Map();
  for (const { collection } of rewritten) sums.set(collection, (sums.get(collection) ?? 0) + 1);
  const merged = Object.entries(merge?.collections ?? {}).map(([name, words]) => h("li", null, name, ": ", Object.entries(words).map(([word, number]) => `${count(number)} ${hasText(`transfer.merged.${word}`) ? t(`transfer.merged.${word}`) : word}`).join(", ")));
  return [
    h("h3", null, t("transfer.outcome")),
    rewritten.length
      ? [
          h("p", null, t("transfer.rewritten", { count: rewritten.length })),
          h("ul", null, [...sums].map(([name, number]) => h("li", null, `${name}: ${count(number)}`))),
          h(
            "details",
            null,
            h("summary", null, t("transfer.rewritten_each")),
            h("ul", null, rewritten.slice(0, 200).map(({ collection, ...rest }) => h("li", { class: "mono break" }, `${collection} ${Object.values(rest).filter((value) => typeof value === "string").join(" ")}`))),
          ),
        ]
      : h("p", { class: "hint" }, t("transfer.rewritten_none")),
    replaced ? h("p", null, t("transfer.files_replaced", { count: replaced })) : null,
    strays.length ? h("p", { class: "note warn" }, t("transfer.strays", { names: strays.join(", ") })) : null,
    merged.length ? h("ul", null, merged) : null,
  ];
}
