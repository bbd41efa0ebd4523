// The field for a transfer key. The key stays in this page's memory: it is in no address, no storage and no log.

import { h, setText } from "./dom.js";
import { t } from "./i18n.js";
import { originOfKey } from "./push-options.js";
import { errorText } from "./shell.js";

/** `{ element, value(), say(error), busy(is), input }`; `onCheck()` when a whole key is to be checked, `onChange()` when it is another one. */
export function keyForm({ onCheck, onChange }) {
  const input = h("input", {
    class: "input mono",
    id: "key",
    type: "password",
    autocomplete: "one-time-code", // so that no browser offers to keep it as a password
    autocapitalize: "off",
    spellcheck: "false",
    "aria-describedby": "key-hint key-origin key-problem",
    required: true,
  });
  const show = h("button", { type: "button", class: "button quiet", "aria-pressed": "false", "aria-controls": "key" }, t("source.key_show"));
  const origin = h("p", { id: "key-origin", role: "status" });
  const problem = h("p", { class: "problem", id: "key-problem", role: "alert", hidden: true });
  const check = h("button", { type: "submit", class: "button primary", id: "check" }, t("source.check"));

  const say = (error) => {
    problem.hidden = !error;
    input.ariaInvalid = String(Boolean(error));
    if (error) setText(problem, typeof error === "string" ? error : errorText(error));
  };
  const changed = () => {
    say(null);
    const leads = originOfKey(input.value);
    origin.hidden = leads === null;
    setText(origin, leads === null ? "" : t("source.key_origin", { origin: leads }));
    onChange();
  };
  input.addEventListener("input", changed);
  show.addEventListener("click", () => {
    const hidden = input.type === "password";
    input.type = hidden ? "text" : "password";
    show.ariaPressed = String(hidden);
    setText(show, t(hidden ? "source.key_hide" : "source.key_show"));
  });
  const submit = (event) => {
    event.preventDefault();
    if (!input.value.trim()) say(t("source.key_missing"));
    else if (originOfKey(input.value) === null) say(t("source.key_cut"));
    else return onCheck();
    input.focus();
  };
  origin.hidden = true;
  const element = h(
    "form",
    { class: "card", id: "key-form", novalidate: true, on: { submit } },
    h("h2", null, t("source.key_heading")),
    h(
      "div",
      { class: "field" },
      h("label", { for: "key" }, t("source.key")),
      h("div", { class: "row nowrap" }, input, show),
      h("p", { class: "hint", id: "key-hint" }, t("source.key_hint")),
      origin,
      problem,
    ),
    h("div", { class: "actions" }, check),
  );
  return {
    element,
    input,
    say,
    value: () => input.value,
    busy: (is) => {
      check.disabled = is;
      check.ariaBusy = String(is);
      setText(check, t(is ? "source.checking" : "source.check"));
    },
  };
}
