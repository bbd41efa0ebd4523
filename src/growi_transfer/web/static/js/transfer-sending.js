// What is on its way right now, by name.

import { fill, h, setText } from "./dom.js";
import { bytes, count, percent, t } from "./i18n.js";
import { errorWords } from "./transfer-words.js";

/** `{ element, show(activity, running) }`. */
export function sendingCard() {
  const items = h("ul", { class: "sending" });
  const lanes = h("p", { class: "hint number" });
  const retries = h("p", { class: "hint", hidden: true });
  const nothing = h("p", { class: "hint" }, t("transfer.sending_nothing"));
  const element = h("section", { class: "card", id: "sending", hidden: true, "aria-labelledby": "sending-heading" }, h("header", null, h("h2", { id: "sending-heading" }, t("transfer.sending")), lanes), items, nothing, retries);
  let last = "";
  return {
    element,
    show(activity, running) {
      const tried = Object.entries(activity?.retries ?? {});
      element.hidden = !activity || !(running || tried.length);
      if (!activity) return;
      const lane = ({ in_flight, limit, waiting }) => t(waiting ? "transfer.lane_waiting" : "transfer.lane", { in_flight, limit, waiting });
      setText(lanes, t("transfer.lanes", { volumes: lane(activity.volumes), attachments: lane(activity.attachments) }));
      retries.hidden = tried.length === 0;
      setText(retries, t("transfer.tried_again", { what: tried.map(([code, times]) => `${count(times)} × ${errorWords(code, code)}`).join(", ") }));
      const sending = activity.sending ?? [];
      nothing.hidden = sending.length > 0;
      const told = JSON.stringify(sending);
      if (told === last) return;
      last = told;
      fill(items, sending.map(row));
    },
  };
}

function row({ kind, item, count: number, bytes: size, done }) {
  // A watch link does not tell names of files.
  const words = item === undefined ? "transfer.sending_unnamed" : { volume: "transfer.sending_volume", bundle: number > 1 ? "transfer.sending_bundle" : "transfer.sending_file", file: "transfer.sending_file" }[kind];
  const bar = kind === "file" ? h("progress", { class: "progress", max: Math.max(1, size), value: done, "aria-label": item ?? t("transfer.sending_unnamed", { count: 1 }) }) : null;
  const share = kind === "file" && size ? ` · ${percent(done / size)}` : "";
  return h("li", { class: "meter" }, h("div", { class: "spread" }, h("span", { class: "break" }, item === undefined ? t(words, { count: number }) : t(words, { item, count: count(kind === "bundle" ? number - 1 : number) })), h("span", { class: "hint number" }, bytes(size) + share)), bar);
}
