// Fields for how fast a push may go: numbers of requests in flight (or automatic) and a limit of bandwidth. In a plan they
// say what shall be; at a transfer that runs they change it.

import { h, setText } from "./dom.js";
import { count, t } from "./i18n.js";
import { MIB, bandwidthOf } from "./push-options.js";

export const LANES = { volumes: { most: 32, first: 3 }, attachments: { most: 64, first: 4 } };

/** A slider for a number of requests in flight, with a box for "automatic". `onChange(number | null)`. */
export function laneField(name, { value, onChange }) {
  const { most, first } = LANES[name];
  const id = `lane-${name}`;
  const shown = h("output", { class: "number", for: id });
  const range = h("input", { class: "range", type: "range", id, min: 1, max: most, step: 1, "aria-describedby": `${id}-hint` });
  const auto = h("input", { type: "checkbox", id: `${id}-auto` });
  const hint = h("p", { class: "hint", id: `${id}-hint` }, t(`speed.${name}_hint`));
  const draw = () => {
    range.disabled = auto.checked;
    const said = auto.checked ? t("speed.automatic") : count(Number(range.value));
    setText(shown, said);
    range.ariaValueText = said;
  };
  const set = (wanted, measured = null) => {
    auto.checked = wanted === null;
    range.value = wanted ?? measured ?? first;
    draw();
  };
  const changed = () => {
    draw();
    onChange(auto.checked ? null : Number(range.value));
  };
  range.addEventListener("input", changed);
  auto.addEventListener("change", changed);
  set(value);
  const element = h(
    "div",
    { class: "field lane" },
    h("div", { class: "spread" }, h("label", { for: id }, t(`speed.${name}`)), shown),
    range,
    h("label", { class: "check" }, auto, h("span", null, t("speed.automatic_long"))),
    hint,
  );
  return { element, set, hint };
}

/** A field for MiB a second; empty means no limit. `onChange(bytes | null)`, only for what is a limit. */
export function bandwidthField({ value, onChange }) {
  const input = h("input", { class: "input", id: "bandwidth", inputmode: "decimal", autocomplete: "off", "aria-describedby": "bandwidth-hint bandwidth-problem" });
  const problem = h("p", { class: "problem", id: "bandwidth-problem", role: "alert", hidden: true }, t("speed.bandwidth_wrong"));
  const hint = h("p", { class: "hint", id: "bandwidth-hint" }, t("speed.bandwidth_hint"));
  const set = (bytes) => {
    input.value = bytes === null ? "" : String(Math.round((bytes / MIB) * 1000) / 1000);
  };
  input.addEventListener("input", () => {
    const bytes = bandwidthOf(input.value);
    const wrong = Number.isNaN(bytes);
    problem.hidden = !wrong;
    input.ariaInvalid = String(wrong);
    onChange(bytes);
  });
  set(value);
  return { element: h("div", { class: "field" }, h("label", { for: "bandwidth" }, t("speed.bandwidth")), input, problem, hint), set, hint, input };
}
