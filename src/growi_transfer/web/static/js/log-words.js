// A line of a transfer's log in the reader's words, made from its code and details. The server's own sentence, which is
// English, stands in where there is no text of ours for a code, or where an older server told less.

import { bytes, count, duration, hasText, language, t } from "./i18n.js";
import { findingWords } from "./finding-words.js";
import { errorWords } from "./transfer-words.js";

/** What a line `{ event, message, details }` says. */
export function logWords(line) {
  const made = madeOf(line);
  return made === null || made.some((part) => part === null || /\{\w+\}/.test(part)) ? line.message : made.join(" ");
}

/** Sentences; null where there is no text, or a part that is missing. */
function madeOf({ event, message, details = {} }) {
  if (event === "state") return [known(`transfer.state.${message.replaceAll(" ", "_")}`)];
  if (Object.hasOwn(LINES, event)) return LINES[event](details);
  // Of failures and findings the English sentence is the more exact one.
  if (language() === "en") return null;
  if (details.item && details.kind) return [failed(event, message, details)];
  const { title, text } = findingWords({ code: event, message, details });
  return title === null ? null : [text ? `${title} — ${text}` : title];
}

const LINES = {
  accepted: ({ codes }) => [codes ? t("log.accepted", { codes: codes.join(", ") }) : null],
  key: ({ by }) => [t("log.key", { by: actor(by) })],
  archive_made: ({ documents, bytes: size }) => [documents === undefined ? null : t("log.archive_made", { documents: count(documents), bytes: bytes(size) })],
  pass_begun: ({ collections, over }) => [collections === undefined ? null : known(`log.pass_begun.${over}`, { collections: count(collections) })],
  pass_ended: ({ sent, restarted, catalogue_changed, one_moment }) => [
    sent === undefined ? null : t(one_moment ? "log.pass_ended.one" : "log.pass_ended.several", { sent: count(sent) }),
    ...(restarted ? [t("log.pass_ended.restarted", { collections: count(restarted) })] : []),
    ...(catalogue_changed ? [t("log.pass_ended.catalogue")] : []),
  ],
  retried: (times) => [t("log.retried", { what: Object.entries(times).map(([code, number]) => `${count(number)} × ${errorWords(code, code)}`).join(", ") })],
  not_resumed: ({ code, message }) => [message === undefined ? null : t("log.not_resumed", { why: errorWords(code, message) })],
  asked: ({ verb, by, arguments: given }) => [t(given ? "log.asked_with" : "log.asked", { verb: step(verb), by: actor(by), given: pairs(given) })],
  refused: ({ verb, code, message }) => [message === undefined ? null : t("log.refused", { verb: step(verb), why: errorWords(code, message) })],
  destination_back: () => [t("log.destination_back")],
  source_back: () => [t("log.source_back")],
  difference_found: ({ found, files_missing }) => [found === undefined ? null : t("log.difference_found", { what: differences(found, files_missing) })],
  verified: ({ index_seconds, verify_seconds }) => [verify_seconds === undefined ? null : t("log.verified", { index: duration(index_seconds), verify: duration(verify_seconds) })],
  commit_step: (details) => [commitStep("log.commit_step", details)],
  undo_step: (details) => [commitStep("log.undo_step", details)],
  recovered: ({ item, kind }) => [kind === undefined ? null : t("log.recovered", { kind: t(`log.kind.${kind}`), item })],
};

function known(key, values) {
  return hasText(key) ? t(key, values) : null;
}

function failed(code, message, { item, kind }) {
  const why = message.startsWith(`${kind} ${item}: `) ? message.slice(`${kind} ${item}: `.length) : message;
  return t("log.failed", { kind: t(`log.kind.${kind}`), item, why: known(`reason.${code}`) ?? errorWords(code, why) });
}

function step(verb) {
  return known(`log.verb.${verb}`) ?? verb ?? "{verb}";
}

/** Who asked, as the server calls them. */
function actor(by) {
  const [, kind, process, host] = /^the (server|command line) \(process (\d+) on (.+)\)$/.exec(by ?? "{by}") ?? [];
  return kind ? t(kind === "server" ? "log.by_server" : "log.by_command", { process, host }) : by ?? "{by}";
}

function pairs(values) {
  const given = Object.entries(values ?? {}).filter(([, value]) => value !== "unchanged");
  const written = (name, value) => (name !== "bandwidth" ? value ?? t("speed.automatic") : value === null ? t("speed.no_limit") : t("transfer.per_second", { value: bytes(value) }));
  return given.map(([name, value]) => `${known(`log.given.${name}`) ?? name} ${written(name, value)}`).join(", ");
}

function differences(found, missing) {
  const named = found.filter(({ what }) => what !== "files").map(({ what, collection }) => known(`log.difference.${what}`, { collection }) ?? `${what}: ${collection}`);
  return [...named, ...(missing ? [t("log.difference.files", { count: missing })] : [])].join(", ") || t("log.difference.other");
}

function commitStep(key, { number, kind, of }) {
  return of === undefined ? null : t(key, { number, what: `${known(`log.step.${kind}`) ?? kind} ${of}`.trim() });
}
