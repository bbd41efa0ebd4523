// What a preflight found, in the reader's words: a title, a sentence with the numbers, what to do.

import { bytes, count, hasText, language, t } from "./i18n.js";

const SIZES = ["bytes", "free", "required"];
const WORDS = ["side", "what"];

/**
 * `{ title, text, todo, names }` of a finding `{ code, message, details }`. Of a code without texts of ours there is the
 * server's sentence, which is English: `text` is null where it would only repeat the title in another language.
 */
export function findingWords({ code, message, details }) {
  const key = `finding.${code}`;
  if (!hasText(key)) return { title: null, text: message, todo: null, names: namesIn(details) };
  const own = hasText(`${key}.text`) ? t(`${key}.text`, written(code, details)) : "{";
  return {
    title: t(key),
    // A place that was not filled: the server is older or newer than this text.
    text: own.includes("{") ? (language() === "en" ? message : null) : own,
    todo: hasText(`${key}.do`) ? t(`${key}.do`) : null,
    names: namesIn(details),
  };
}

function written(code, details) {
  const values = Object.entries(details ?? {}).filter(([, value]) => typeof value !== "object");
  return Object.fromEntries(values.map(([name, value]) => [name, valueText(code, name, value)]));
}

function valueText(code, name, value) {
  if (typeof value !== "number") {
    const key = `finding.word.${String(value).replaceAll(" ", "_")}`;
    return WORDS.includes(name) && hasText(key) ? t(key) : value;
  }
  if (SIZES.includes(name) || (name === "limit" && code === "file_upload_total_limit")) return bytes(value);
  return count(Math.abs(value));
}

/** Names of files, collections and the like in the details. */
function namesIn(details) {
  return Object.values(details ?? {})
    .filter(Array.isArray)
    .flat()
    .map((one) => (typeof one === "string" ? one : [one.name ?? one.collection, one.id, one.kind].filter(Boolean).join(" ")))
    .filter(Boolean);
}
