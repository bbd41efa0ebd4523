// Whether a push replaces the destination's wiki or is put together with it, and how conflicts of a merge are resolved.

import { fill, h } from "./dom.js";
import { count, hasText, t } from "./i18n.js";
import { MERGE_KINDS } from "./push-options.js";

const RULES = { ...Object.fromEntries(Object.entries(MERGE_KINDS).map(([kind, [first]]) => [kind, first])), substitute: "", items: {} };

/** The fields; `choice.merge` is null (replace) or the rules. */
export function mergeFields(report, choice, changed) {
  const rules = h("div", { class: "stack" });
  const draw = () => fill(rules, choice.merge ? [kinds(choice, changed), conflicts(report, choice, changed)] : null);
  const radio = (name, merge) =>
    h("input", {
      type: "radio",
      name: "mode",
      value: name,
      checked: Boolean(choice.merge) === merge,
      on: {
        change: () => {
          choice.merge = merge ? { ...structuredClone(RULES), ...choice.kept } : null;
          draw();
          changed();
        },
      },
    });
  draw();
  return h(
    "fieldset",
    { class: "fieldset stack", id: "mode" },
    h("legend", null, t("source.mode")),
    option(radio("replace", false), "source.mode_replace"),
    option(radio("merge", true), "source.mode_merge"),
    rules,
  );
}

function option(input, key) {
  return h("label", { class: "check" }, input, h("span", null, t(key), h("br"), h("span", { class: "hint" }, t(`${key}_hint`))));
}

function kinds(choice, changed) {
  const set = (name, value) => {
    choice.merge[name] = value;
    choice.kept = choice.merge;
    changed();
  };
  const selects = Object.entries(MERGE_KINDS).map(([kind, ways]) =>
    h(
      "div",
      { class: "field" },
      h("label", { for: `merge-${kind}` }, t(`source.merge.${kind}`)),
      h("select", { class: "input", id: `merge-${kind}`, on: { change: (event) => set(kind, event.target.value) } }, options(kind, ways, choice.merge[kind])),
    ),
  );
  const substitute = h("input", { class: "input", id: "merge-substitute", autocomplete: "off", value: choice.merge.substitute, "aria-describedby": "merge-substitute-hint", on: { change: (event) => set("substitute", event.target.value.trim()) } });
  return h(
    "div",
    { class: "stack" },
    h("p", null, t("source.merge_rules")),
    h("div", { class: "grid" }, selects, h("div", { class: "field" }, h("label", { for: "merge-substitute" }, t("source.merge.substitute")), substitute, h("p", { class: "hint", id: "merge-substitute-hint" }, t("source.merge.substitute_hint")))),
  );
}

function options(kind, ways, chosen) {
  const own = `source.merge.way.${kind}.`;
  return ways.map((way) => h("option", { value: way, selected: way === chosen }, hasText(own + way) ? t(own + way) : t(`source.merge.way.${way}`)));
}

/** What a dry run found to be in each other's way; single ones may be resolved in another way than their kind. */
function conflicts(report, choice, changed) {
  const found = Object.entries(report.merge_conflicts ?? {}).filter(([, { total }]) => total > 0);
  if (found.length === 0) return report.merge_conflicts ? h("p", { class: "hint" }, t("source.merge.no_conflicts")) : h("p", { class: "hint" }, t("source.merge.check_first"));
  const pick = (kind, name, way) => {
    const items = (choice.merge.items[kind] ??= {});
    if (way) items[name] = way;
    else delete items[name];
    if (Object.keys(items).length === 0) delete choice.merge.items[kind];
    choice.kept = choice.merge;
    changed();
  };
  const row = (kind, { name, resolution, to }) => {
    const ways = kind === "documents" ? null : MERGE_KINDS[kind];
    const chosen = choice.merge.items[kind]?.[name] ?? "";
    const select = ways
      ? h("select", { class: "input", "aria-label": t("source.merge.way_of", { name }), on: { change: (event) => pick(kind, name, event.target.value) } }, h("option", { value: "" }, t("source.merge.as_kind")), options(kind, ways, chosen))
      : null;
    return h("tr", null, h("td", { class: "break" }, name), h("td", null, wayText(kind, resolution), to ? ` → ${to}` : ""), h("td", null, select));
  };
  return h(
    "div",
    { class: "stack" },
    found.map(([kind, { total, first }]) =>
      h(
        "details",
        { open: first.length <= 5 },
        h("summary", null, t("source.merge.conflicts", { kind: hasText(`source.merge.${kind}`) ? t(`source.merge.${kind}`) : kind, total: count(total) })),
        h(
          "div",
          { class: "scroll" },
          h("table", { class: "table" }, h("thead", null, h("tr", null, ["name", "resolution", "own_way"].map((name) => h("th", { scope: "col" }, t(`source.merge.column.${name}`))))), h("tbody", null, first.map((one) => row(kind, one)))),
        ),
        total > first.length ? h("p", { class: "hint" }, t("source.merge.more", { count: total - first.length })) : null,
      ),
    ),
  );
}

function wayText(kind, way) {
  const own = `source.merge.way.${kind}.${way}`;
  const general = `source.merge.way.${way}`;
  return hasText(own) ? t(own) : hasText(general) ? t(general) : way;
}
