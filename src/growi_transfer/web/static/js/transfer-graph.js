// The speed of the last five minutes as a curve, with the same in words.

import { fill, h, setText, svg } from "./dom.js";
import { bytes, duration, t } from "./i18n.js";
import { WINDOW, curves, niceCeiling, paths, spanOf, summary, withSample } from "./rates.js";

const BOX = { width: 600, height: 120 };
const WORDS_EVERY = 5000;

/** `{ element, samples, note(rate), draw(moving) }`; what was measured lasts over a reload of the page, in this tab. */
export function rateGraph(name) {
  const kept = `growi-transfer.rates.${name}`;
  const lines = svg("g", { class: "curve" });
  const picture = svg("svg", { class: "graph", viewBox: `0 0 ${BOX.width} ${BOX.height}`, preserveAspectRatio: "none", role: "img" }, [0, 0.5, 1].map((share) => svg("line", { class: "grid-line", x1: 0, x2: BOX.width, y1: BOX.height * share, y2: BOX.height * share })), lines);
  const scale = h("span", { class: "hint number" });
  const words = h("p", { class: "hint number" });
  const from = h("span", { class: "number" });
  let toldAt = 0;
  const graph = {
    samples: recall(kept),
    element: h(
      "section",
      { class: "card", "aria-labelledby": "graph-heading" },
      h("header", null, h("h2", { id: "graph-heading" }, t("transfer.graph")), scale),
      picture,
      h("div", { class: "spread hint", "aria-hidden": "true" }, from, h("span", null, t("transfer.graph_to"))),
      words,
    ),
    note(rate) {
      const samples = withSample(graph.samples, Date.now(), rate);
      if (samples === graph.samples) return;
      graph.samples = samples;
      keep(kept, samples);
      graph.draw(true);
    },
    draw(moving) {
      const now = Date.now();
      const { now: present, mean, most } = summary(graph.samples.filter(([time]) => now - time <= WINDOW));
      const top = niceCeiling(most);
      const span = spanOf(graph.samples, now);
      setText(from, t("transfer.graph_from", { time: duration(span / 1000) }));
      setText(scale, t("transfer.graph_scale", { value: bytes(top) }));
      fill(
        lines,
        curves(graph.samples, now, { ...BOX, top, span }).map((points) => {
          const { line, area } = paths(points, BOX.height);
          return [svg("path", { class: "area", d: area }), svg("path", { class: "stroke", d: line })];
        }),
      );
      // A reader of the words is not disturbed each second; the first ones come at once, and the last ones.
      if (moving && graph.samples.length > 2 && now - toldAt < WORDS_EVERY) return;
      toldAt = now;
      const told = t(moving ? "transfer.graph_words" : "transfer.graph_words_past", { now: bytes(present), mean: bytes(mean), most: bytes(most) });
      setText(words, told);
      picture.ariaLabel = told;
    },
  };
  graph.draw(false);
  return graph;
}

function recall(name) {
  try {
    const samples = JSON.parse(sessionStorage.getItem(name) ?? "[]");
    return samples.filter((one) => Array.isArray(one) && one.every(Number.isFinite) && Date.now() - one[0] <= WINDOW);
  } catch {
    return [];
  }
}

function keep(name, samples) {
  try {
    sessionStorage.setItem(name, JSON.stringify(samples));
  } catch {
    // a browser that keeps nothing: the curve begins anew with the page
  }
}
