// How fast a transfer may go, changed while it runs. What is in force is asked from the server, and shown.

import { send } from "./api.js";
import { h, setText } from "./dom.js";
import { bytes, count, t } from "./i18n.js";
import { errorText } from "./shell.js";
import { bandwidthField, laneField } from "./speed-fields.js";
import { isRunning } from "./transfer-states.js";

const PAUSE = 400;
const TYPING = 1500; // a field that is empty for a moment is not a wish for no limit

/** `{ element, show(transfer, details) }`; `changed()` once the server has taken something over. */
export function tuning(transferId, { changed }) {
  const force = h("dl", { class: "facts" });
  const inForce = Object.fromEntries(["volumes", "attachments", "bandwidth"].map((name) => [name, h("dd", { dataset: { inForce: name } })]));
  force.append(...Object.entries(inForce).map(([name, place]) => h("div", null, h("dt", null, t(name === "bandwidth" ? "speed.bandwidth_in_force" : `speed.${name}`)), place)));
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  const said = h("p", { class: "hint", role: "status" });
  let wanted = {};
  let waiting = null;
  let set = "";

  const order = (change, pause = PAUSE) => {
    wanted = { ...wanted, ...change, parallelism: { ...wanted.parallelism, ...change.parallelism } };
    setText(said, t("speed.sending"));
    clearTimeout(waiting);
    waiting = setTimeout(give, pause);
  };
  const give = async () => {
    waiting = null;
    const body = wanted;
    wanted = {};
    problem.hidden = true;
    try {
      await send("PATCH", `/transfers/${transferId}`, body);
      setText(said, t("speed.taken"));
    } catch (error) {
      setText(said, "");
      setText(problem, errorText(error));
      problem.hidden = false;
    }
    set = ""; // the fields show what is in force again
    changed();
  };
  const lanes = Object.fromEntries(["volumes", "attachments"].map((name) => [name, laneField(name, { value: null, onChange: (value) => order({ parallelism: { [name]: value } }) })]));
  const band = bandwidthField({ value: null, onChange: (value) => Number.isNaN(value) || order({ bandwidth_bytes_per_second: value }, TYPING) });
  // Enter, or leaving the field: that is the wish.
  band.input.addEventListener("change", () => waiting !== null && order({}, 0));
  const element = h(
    "section",
    { class: "card", id: "tuning", "aria-labelledby": "tuning-heading" },
    h("header", null, h("h2", { id: "tuning-heading" }, t("speed.heading")), said),
    lanes.volumes.element,
    lanes.attachments.element,
    band.element,
    problem,
    h("h3", null, t("speed.in_force")),
    force,
  );
  return {
    element,
    show(transfer, { options }) {
      // How many an adapting one has at once is true only while something is sent.
      const activity = isRunning(transfer) ? transfer.activity : null;
      const { parallelism, bandwidth_bytes_per_second: limit } = options;
      for (const name of ["volumes", "attachments"]) {
        const present = activity?.[name]?.limit || null;
        const fixed = parallelism[name];
        setText(inForce[name], fixed === null ? (present ? t("speed.adapts_now", { value: count(present) }) : t("speed.adapts")) : t("speed.fixed", { value: count(fixed) }));
      }
      setText(inForce.bandwidth, limit === null ? t("speed.no_limit") : t("transfer.per_second", { value: bytes(limit) }));
      const stored = JSON.stringify([parallelism, limit]);
      // While somebody moves a slider, or what he has set is on its way, the fields are his.
      if (stored === set || waiting !== null || Object.keys(wanted).length) return;
      set = stored;
      for (const name of ["volumes", "attachments"]) lanes[name].set(parallelism[name], activity?.[name]?.limit || null);
      if (document.activeElement !== band.input) band.set(limit);
    },
  };
}
