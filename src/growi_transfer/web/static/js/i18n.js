// Texts, and numbers, sizes, times as the reader's language writes them. The catalogues are static/locales/*.json: flat
// keys, `{name}` stands for a value. The language is the one chosen in the header, else the browser's, else English.

export const LANGUAGES = { en: "English", ja: "日本語" };
const KEPT = "growi-transfer.language";
const LOCALES = { en: "en-US", ja: "ja-JP" };
const ATTRIBUTES = { i18nLabel: "ariaLabel", i18nTitle: "title", i18nPlaceholder: "placeholder" };

const chosen = choose();
const locale = LOCALES[chosen];
const texts = await catalogue();

const wholes = new Intl.NumberFormat(locale, { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat(locale, { maximumFractionDigits: 1 });
const percents = new Intl.NumberFormat(locale, { style: "percent", maximumFractionDigits: 1 });
const days = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "short" });
const clocks = new Intl.DateTimeFormat(locale, { timeStyle: "medium" });
const relative = new Intl.RelativeTimeFormat(locale, { numeric: "auto" });

/** `en` or `ja`. */
export function language() {
  return chosen;
}

/** Choose a language for this browser; the page begins again in it. */
export function setLanguage(wanted) {
  if (!(wanted in LANGUAGES)) throw new Error(`no texts for ${wanted}`);
  remember(wanted);
  if (wanted !== chosen) location.reload();
}

/** Whether the catalogue has a text: for keys made of a code that a newer server may have. */
export function hasText(key) {
  return Object.hasOwn(texts, key);
}

/**
 * A text of the catalogue. `params.count` 1 takes the text `<key>_one` where there is one, and numbers are written as the
 * language does.
 */
export function t(key, params = {}) {
  const single = params.count === 1 && hasText(`${key}_one`);
  const text = single ? texts[`${key}_one`] : texts[key];
  if (text === undefined) return key;
  return text.replace(/\{(\w+)\}/g, (place, name) => {
    const value = params[name];
    return value === undefined ? place : typeof value === "number" ? tenths.format(value) : String(value);
  });
}

/** Fill in the texts of elements with data-i18n, data-i18n-label (aria-label), data-i18n-title, data-i18n-placeholder. */
export function applyTexts(root = document) {
  for (const element of root.querySelectorAll("[data-i18n]")) element.textContent = t(element.dataset.i18n);
  for (const element of root.querySelectorAll("[data-i18n-label], [data-i18n-title], [data-i18n-placeholder]")) {
    for (const [name, property] of Object.entries(ATTRIBUTES)) {
      if (element.dataset[name]) element[property] = t(element.dataset[name]);
    }
  }
}

/** A whole number. */
export function count(value) {
  return wholes.format(value);
}

/** A number with at most one decimal. */
export function decimal(value) {
  return tenths.format(value);
}

/** Bytes in binary units. */
export function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let unit = 0;
  let rest = value;
  // As the number is shown: 1,023.96 KiB would be written as 1,024.
  while (Math.abs(Math.round(rest * 10) / 10) >= 1024 && unit < units.length - 1) {
    rest /= 1024;
    unit += 1;
  }
  return `${tenths.format(rest)} ${units[unit]}`;
}

/** Seconds as at most two units: `1 h 5 min`. */
export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const parts = [
    ["common.days", Math.floor(whole / 86400)],
    ["common.hours", Math.floor((whole % 86400) / 3600)],
    ["common.minutes", Math.floor((whole % 3600) / 60)],
    ["common.seconds", whole % 60],
  ];
  const first = parts.findIndex(([, value]) => value > 0);
  if (first < 0) return t("common.seconds", { value: 0 });
  return parts
    .slice(first, first + 2)
    .filter(([, value]) => value > 0)
    .map(([key, value]) => t(key, { value }))
    .join(" ");
}

/** A moment, given as Date or ISO text, as day and time in the reader's zone. */
export function date(moment) {
  return days.format(new Date(moment));
}

/** The time of day of a moment, with seconds. */
export function clock(moment) {
  return clocks.format(new Date(moment));
}

/** How long ago a moment was, or in how long it will be. */
export function ago(moment, now = Date.now()) {
  const seconds = (new Date(moment).getTime() - now) / 1000;
  for (const [unit, length] of [["day", 86400], ["hour", 3600], ["minute", 60]]) {
    if (Math.abs(seconds) >= length) return relative.format(Math.trunc(seconds / length), unit);
  }
  return relative.format(Math.trunc(seconds), "second");
}

/** A share from 0 to 1. */
export function percent(share) {
  return percents.format(share);
}

function choose() {
  let kept = null;
  try {
    kept = localStorage.getItem(KEPT);
  } catch {
    // a browser that keeps nothing
  }
  const wanted = [kept, ...navigator.languages].map((name) => String(name).slice(0, 2).toLowerCase());
  return wanted.find((name) => name in LANGUAGES) ?? "en";
}

function remember(wanted) {
  try {
    localStorage.setItem(KEPT, wanted);
  } catch {
    // lasts as long as the page, then
  }
}

async function catalogue() {
  const answer = await fetch(new URL(`../locales/${chosen}.json`, import.meta.url));
  if (!answer.ok) throw new Error(`the texts do not come: ${answer.status}`);
  document.documentElement.lang = chosen;
  return answer.json();
}
