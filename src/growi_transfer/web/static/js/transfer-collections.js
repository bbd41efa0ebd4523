// Each collection of a transfer with its own bar: the largest ones, and all of them when asked for.

import { fill, h, setText } from "./dom.js";
import { bytes, count, t } from "./i18n.js";

const FEW = 8;

/** `{ element, show(collections, state) }`. */
export function collectionsCard() {
  const rows = new Map();
  const body = h("ul", { class: "collections" });
  const more = h("button", { type: "button", class: "button small", "aria-expanded": "false", hidden: true });
  const sum = h("span", { class: "hint number" });
  const element = h("section", { class: "card", id: "collections", hidden: true, "aria-labelledby": "collections-heading" }, h("header", null, h("h2", { id: "collections-heading" }, t("transfer.collections")), sum), body, h("div", { class: "actions" }, more));
  let all = false;
  let known = [];
  let last = "";
  more.addEventListener("click", () => {
    all = !all;
    draw();
  });

  function draw() {
    const shown = all ? known : known.slice(0, FEW);
    for (const one of shown) {
      if (!rows.has(one.name)) rows.set(one.name, new Row(one.name));
      rows.get(one.name).show(one);
    }
    const order = shown.map(({ name }) => name).join();
    if (order !== last) fill(body, shown.map(({ name }) => rows.get(name).element));
    last = order;
    more.hidden = known.length <= FEW;
    more.ariaExpanded = String(all);
    setText(more, all ? t("transfer.collections_fewer") : t("transfer.collections_all", { count: known.length }));
    element.hidden = known.length === 0;
    // Empty ones would be complete before anything has begun.
    const filled = known.filter((one) => one.documents.total > 0);
    const done = filled.filter((one) => one.documents.done >= one.documents.total).length;
    setText(sum, t("transfer.collections_done", { done: count(done), total: count(filled.length) }));
  }

  return {
    element,
    show(collections) {
      known = [...collections].sort((one, other) => other.bytes.total - one.bytes.total || (one.name < other.name ? -1 : 1));
      draw();
    },
  };
}

class Row {
  constructor(name) {
    this.bar = h("progress", { class: "progress", max: 1, "aria-label": name });
    this.numbers = h("span", { class: "hint number" });
    this.element = h("li", { class: "meter" }, h("div", { class: "spread" }, h("span", { class: "break" }, name), this.numbers), this.bar);
  }

  show({ kind, documents, bytes: size }) {
    const complete = documents.done >= documents.total && documents.total > 0;
    // Collections of a few bytes, and empty ones, are shown by their documents.
    this.bar.max = Math.max(1, size.total);
    this.bar.value = complete ? this.bar.max : Math.min(size.done, this.bar.max);
    this.bar.classList.toggle("good", complete);
    const numberless = kind === "view" ? t("transfer.collection_view") : documents.total === 0 ? t("transfer.collection_empty") : null;
    setText(this.numbers, numberless ?? t("transfer.collection_numbers", { done: count(documents.done), total: count(documents.total), bytes: bytes(size.total) }));
  }
}
