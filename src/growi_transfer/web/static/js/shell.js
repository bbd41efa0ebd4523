// What every page has: the header with its ways and switches, messages, questions.

import { ApiError, get } from "./api.js";
import { fill, h } from "./dom.js";
import { LANGUAGES, applyTexts, hasText, language, setLanguage, t } from "./i18n.js";

const THEME = "growi-transfer.theme";
const THEMES = ["system", "light", "dark"];
const WAYS = [
  { page: "destination", href: "/destination", role: "receiver", key: "common.nav_destination" },
  { page: "source", href: "/source", role: "pusher", key: "common.nav_source" },
  { page: "transfers", href: "/transfers", role: null, key: "common.nav_transfers" },
];
const TOAST_SECONDS = 6;

const polite = h("div", { class: "toasts", role: "status", "aria-live": "polite" });
const assertive = h("div", { class: "toasts", role: "alert" });

/**
 * Draw the header above the page's `main`, and fill in the texts of the page. `page` is `destination`, `source`,
 * `transfers`, or null for pages without ways (login, watch link). With `admin` the server is asked what it is; resolves with
 * `{ version, roles }` (roles: `receiver`, `pusher`), or null without.
 */
export async function startShell({ page = null, admin = true } = {}) {
  applyTexts();
  const nav = h("nav", { class: "nav", "aria-label": t("common.nav"), hidden: !admin });
  const header = h(
    "header",
    { class: "header" },
    h("a", { class: "skip", href: "#main" }, t("common.skip")),
    h("a", { class: "brand", href: "/" }, "growi-transfer"),
    nav,
    h("div", { class: "switches" }, languageSwitch(), themeSwitch(), admin ? logoutButton() : null),
  );
  document.body.prepend(header);
  document.body.append(h("div", { class: "messages" }, assertive, polite));
  if (!admin) return null;
  const server = await get("/server").catch((error) => {
    showError(error);
    return { version: "", roles: [] };
  });
  fill(
    nav,
    WAYS.filter(({ role }) => role === null || server.roles.includes(role)).map((way) =>
      h("a", { href: way.href, "aria-current": way.page === page ? "page" : null }, t(way.key)),
    ),
  );
  return server;
}

/** Say something for a moment. `kind`: `info`, `good` or `bad`; bad ones are read out at once and stay until closed. */
export function toast(text, { kind = "info" } = {}) {
  const close = h("button", { type: "button", class: "close", "aria-label": t("common.close"), on: { click: () => shown.remove() } }, "×");
  const shown = h("div", { class: `toast ${kind}` }, h("span", null, text), close);
  (kind === "bad" ? assertive : polite).append(shown);
  if (kind !== "bad") setTimeout(() => shown.remove(), TOAST_SECONDS * 1000);
  return shown;
}

/** What an error says to a reader: the catalogue's text of its code, else the server's own. */
export function errorText(error) {
  if (!(error instanceof ApiError)) return t("error.unexpected", { message: error?.message ?? String(error) });
  const key = `error.${error.code}`;
  return hasText(key) ? t(key, { message: error.message, ...error.details }) : error.message;
}

/** Say an error, whatever it is. */
export function showError(error) {
  if (error?.name === "AbortError") return;
  if (!(error instanceof ApiError)) console.error(error);
  toast(errorText(error), { kind: "bad" });
}

/**
 * Ask before something that cannot be taken back. Resolves with true only for yes: closing it and Escape are no.
 * `confirm` is the text of the button that does it, `grave` shows it as dangerous; `more` may be elements below the text.
 */
export function confirmDialog(text, { confirm = t("common.yes"), cancel = t("common.cancel"), title = "", grave = false, more = null } = {}) {
  return new Promise((resolve) => {
    const done = (answer) => {
      if (dialog.open) dialog.close();
      dialog.remove();
      before?.focus?.();
      resolve(answer);
    };
    const before = document.activeElement;
    const no = h("button", { type: "button", class: "button quiet", on: { click: () => done(false) } }, cancel);
    const yes = h("button", { type: "button", class: `button ${grave ? "danger" : "primary"}`, value: "yes", on: { click: () => done(true) } }, confirm);
    const dialog = h(
      "dialog",
      { class: "dialog", "aria-labelledby": "question-text", on: { cancel: (event) => (event.preventDefault(), done(false)) } },
      title ? h("h2", null, title) : null,
      h("p", { id: "question-text" }, text),
      more,
      h("div", { class: "actions end" }, no, yes),
    );
    document.body.append(dialog);
    dialog.showModal();
    no.focus();
  });
}

function languageSwitch() {
  const names = Object.entries(LANGUAGES).map(([code, name]) => h("option", { value: code, lang: code, selected: code === language() }, name));
  return h("select", { class: "switch", "aria-label": t("common.language"), on: { change: (event) => setLanguage(event.target.value) } }, names);
}

function themeSwitch() {
  let kept = "system";
  try {
    kept = localStorage.getItem(THEME) ?? "system";
  } catch {
    // a browser that keeps nothing
  }
  const label = { system: t("common.theme_system"), light: t("common.theme_light"), dark: t("common.theme_dark") };
  const options = THEMES.map((name) => h("option", { value: name, selected: name === kept }, label[name]));
  return h("select", { class: "switch", "aria-label": t("common.theme"), on: { change: (event) => setTheme(event.target.value) } }, options);
}

function setTheme(name) {
  if (name === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  try {
    localStorage.setItem(THEME, name);
  } catch {
    // lasts as long as the page, then
  }
}

function logoutButton() {
  return h(
    "form",
    { method: "post", action: "/logout" },
    h("button", { type: "submit", class: "button quiet small", id: "logout" }, t("common.logout")),
  );
}
