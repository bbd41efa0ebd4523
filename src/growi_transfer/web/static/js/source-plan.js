// The plan of a push: what moves, how, and how fast. It changes a choice (push-options.js) and says so.

import { h, setText } from "./dom.js";
import { bytes, count, duration, hasText, t } from "./i18n.js";
import { mergeFields } from "./source-merge.js";
import { choosable, expectedSeconds, linesOf, sumOf, wrongPattern } from "./push-options.js";
import { bandwidthField, laneField } from "./speed-fields.js";

/** The cards of a plan, for `choice`; `onChange()` after each change of it. `{ element, update() }`. */
export function planCards(report, choice, { onChange }) {
  const collections = choosable(report);
  const sums = h("p", { class: "number", role: "status" });
  const time = h("strong", { class: "number" });
  const update = () => {
    const sum = sumOf(collections, choice.excludeCollections);
    setText(sums, t("source.sum", { ...written(sum), all: count(collections.length) }));
    const moving = sum.bytes + report.counts.attachment_bytes;
    const seconds = expectedSeconds(report, moving, choice.bandwidth || null);
    setText(time, seconds === null ? t("source.not_known") : t("source.about", { time: duration(seconds) }));
  };
  const changed = () => {
    update();
    onChange();
  };
  const element = h(
    "section",
    { class: "card", id: "plan", "aria-labelledby": "plan-heading" },
    h("header", null, h("h2", { id: "plan-heading" }, t("source.plan_heading")), h("span", null, t("source.expected"), " ", time)),
    h("div", { class: "stack" }, h("h3", null, t("source.collections")), sums, table(collections, choice, changed), operating(report)),
    attachments(report, choice, changed),
    isPlainGrowi(report) ? h("p", { class: "note info" }, t("source.plain_growi")) : [mergeFields(report, choice, changed), endFields(choice, changed)],
    speedFields(report, choice, changed),
  );
  update();
  return { element, update };
}

function written({ collections, documents, bytes: size }) {
  return { collections: count(collections), documents: count(documents), bytes: bytes(size) };
}

function table(collections, choice, changed) {
  const boxes = [];
  const all = h("input", { type: "checkbox", id: "all-collections", "aria-label": t("source.all_collections") });
  const draw = () => {
    const left = choice.excludeCollections.length;
    all.checked = left < collections.length;
    all.indeterminate = left > 0 && left < collections.length;
  };
  const choose = () => {
    choice.excludeCollections = boxes.filter((box) => !box.checked).map((box) => box.dataset.collection);
    draw();
    changed();
  };
  const rows = collections.map((one, index) => {
    const box = h("input", { type: "checkbox", id: `collection-${index}`, checked: !choice.excludeCollections.includes(one.name), dataset: { collection: one.name }, on: { change: choose } });
    boxes.push(box);
    const kind = one.kind === "collection" ? null : [" ", h("span", { class: "badge" }, kindText(one.kind))];
    return h("tr", null, h("td", { class: "tick" }, box), h("td", { class: "break" }, h("label", { for: box.id }, one.name), kind), h("td", { class: "number" }, count(one.documents)), h("td", { class: "number" }, bytes(one.bytes)));
  });
  all.addEventListener("change", () => {
    for (const box of boxes) box.checked = all.checked;
    choose();
  });
  draw();
  return h(
    "div",
    { class: "scroll tall", tabindex: "0", role: "region", "aria-label": t("source.collections") },
    h(
      "table",
      { class: "table" },
      h("thead", null, h("tr", null, h("th", { scope: "col", class: "tick" }, all), ["collection", "documents", "size"].map((name) => h("th", { scope: "col", class: name === "collection" ? null : "number" }, t(`source.column.${name}`))))),
      h("tbody", null, rows),
    ),
  );
}

function kindText(kind) {
  return hasText(`source.kind.${kind}`) ? t(`source.kind.${kind}`) : kind;
}

/** What never moves, for those who wonder where it is. */
function operating(report) {
  const names = report.not_moving.filter(({ reason }) => reason !== "excluded").map(({ name }) => name);
  if (names.length === 0) return null;
  return h("details", null, h("summary", null, t("source.operating_state", { count: names.length })), h("p", { class: "hint" }, t("source.operating_state_why")), h("p", { class: "mono break" }, names.join(", ")));
}

function attachments(report, choice, changed) {
  const { counts } = report;
  const problem = h("p", { class: "problem", id: "paths-problem", role: "alert", hidden: true });
  const paths = h("textarea", { class: "input", id: "paths", rows: 3, spellcheck: "false", placeholder: t("source.paths_example"), "aria-describedby": "paths-hint paths-problem", value: choice.excludePaths.join("\n") });
  paths.addEventListener("input", () => {
    const lines = linesOf(paths.value);
    const wrong = wrongPattern(lines);
    problem.hidden = wrong === null;
    paths.ariaInvalid = String(wrong !== null);
    if (wrong !== null) setText(problem, t("source.paths_wrong", { path: wrong }));
    choice.excludePaths = lines;
    choice.wrongPath = wrong;
    changed();
  });
  const behind = report.files_not_moving.map(({ reason, files, bytes: size, first }) =>
    h(
      "li",
      null,
      t("source.files_behind", { why: hasText(`source.behind.${reason}`) ? t(`source.behind.${reason}`) : reason, files: count(files), bytes: bytes(size) }),
      first?.length ? h("details", null, h("summary", null, t("source.names", { count: first.length })), h("ul", null, first.map((name) => h("li", { class: "break" }, name)))) : null,
    ),
  );
  return h(
    "div",
    { class: "stack" },
    h("h3", null, t("source.attachments")),
    h("p", { class: "number" }, t("source.attachments_sum", { files: count(counts.attachments_moving), bytes: bytes(counts.attachment_bytes) })),
    behind.length ? h("ul", null, behind) : null,
    h("div", { class: "field" }, h("label", { for: "paths" }, t("source.paths")), paths, h("p", { class: "hint", id: "paths-hint" }, t("source.paths_hint")), problem),
  );
}

/** A GROWI without growi-transfer takes an archive at once: it has no staging, and so no choice of how it ends. */
function isPlainGrowi(report) {
  return !report.destination.transfer;
}

function endFields(choice, changed) {
  const end = choice.follow ? "follow" : choice.commit ? "commit" : "stop";
  const radio = (name) => h("input", { type: "radio", name: "end", value: name, checked: end === name, on: { change: () => choose(name) } });
  const choose = (name) => {
    choice.commit = name !== "stop";
    choice.follow = name === "follow";
    changed();
  };
  return h(
    "fieldset",
    { class: "fieldset stack", id: "end" },
    h("legend", null, t("source.end")),
    ["commit", "stop", "follow"].map((name) => option(radio(name), `source.end_${name}`)),
    box(choice, "freeze", changed),
    box(choice, "deep", changed),
  );
}

function speedFields(report, choice, changed) {
  const set = (name) => (value) => {
    choice[name] = value;
    changed();
  };
  return h(
    "fieldset",
    { class: "fieldset stack", id: "speed" },
    h("legend", null, t("source.speed")),
    h("div", { class: "grid" }, laneField("volumes", { value: choice.volumes, onChange: set("volumes") }).element, laneField("attachments", { value: choice.attachments, onChange: set("attachments") }).element, bandwidthField({ value: choice.bandwidth, onChange: set("bandwidth") }).element),
    isPlainGrowi(report) ? null : box(choice, "attachmentsFirst", changed),
    h("p", { class: "hint" }, t("source.speed_later")),
  );
}

/** A box for something that is on or off. */
function box(choice, name, changed) {
  const input = h("input", { type: "checkbox", name, checked: choice[name] });
  input.addEventListener("change", () => {
    choice[name] = input.checked;
    changed();
  });
  return option(input, `source.${name}`);
}

function option(input, key) {
  return h("label", { class: "check" }, input, h("span", null, t(key), h("br"), h("span", { class: "hint" }, t(`${key}_hint`))));
}
