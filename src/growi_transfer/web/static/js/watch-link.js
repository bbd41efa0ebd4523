// Watch links: a button for the view of a transfer, and the dialog in which they are made, copied and revoked.

import { get, send } from "./api.js";
import { fill, h } from "./dom.js";
import { ago, date, t } from "./i18n.js";
import { showError, toast } from "./shell.js";

const LIFETIMES = [
  ["watch.for_hour", 3600],
  ["watch.for_day", 86400],
  ["watch.for_week", 7 * 86400],
  ["watch.for_month", 30 * 86400],
];
const USUAL = 86400;

/** A button that opens the watch links of a transfer (`{ id, role }`); only for admins. */
export function watchLinkButton(transfer) {
  return h("button", { type: "button", class: "button quiet small", dataset: { act: "watch-link" }, on: { click: () => openDialog(transfer) } }, t("watch.button"));
}

function openDialog({ id, role }) {
  const path = `/transfers/${id}/watch-links`;
  const query = `?role=${role}`;
  const list = h("div", { class: "stack" });
  const made = h("div", { class: "stack", "aria-live": "polite" });
  const lifetime = h("select", { id: "watch-lifetime" }, LIFETIMES.map(([key, seconds]) => h("option", { value: String(seconds), selected: seconds === USUAL }, t(key))));

  const attempt = async (button, work) => {
    button.disabled = true;
    try {
      await work();
    } catch (error) {
      showError(error);
    } finally {
      button.disabled = false;
    }
  };
  const button = (key, look, work) => {
    const pressed = h("button", { type: "button", class: `button ${look}`, on: { click: () => attempt(pressed, work) } }, t(key));
    return pressed;
  };
  const revoke = async (rest) => {
    await send("DELETE", `${path}${rest}${query}`);
    fill(made);
    await showList();
  };
  const showList = async () => {
    const { links } = await get(path + query);
    const rows = links.map((link) =>
      h("tr", null, h("td", null, t("watch.made", { when: ago(link.created_at) })), h("td", null, t("watch.until", { when: date(link.expires_at) })), h("td", { class: "number" }, button("watch.revoke", "quiet small", () => revoke(`/${link.id}`)))),
    );
    const all = links.length > 1 ? h("div", { class: "actions end" }, button("watch.revoke_all", "danger small", () => revoke(""))) : null;
    fill(list, links.length ? [h("h3", null, t("watch.valid")), h("table", { class: "table" }, h("tbody", null, rows)), all] : h("p", { class: "hint" }, t("watch.none")));
  };
  const make = async () => {
    const answer = await send("POST", path + query, { expires_in_seconds: Number(lifetime.value) });
    // The address by which this browser knows the server; behind a proxy the server itself may not.
    const address = h("input", { id: "watch-address", class: "input mono", readOnly: true, value: location.origin + answer.path, on: { focus: () => address.select() } });
    fill(
      made,
      h("div", { class: "field" }, h("label", { for: "watch-address" }, t("watch.address")), address, h("p", { class: "hint" }, t("watch.once"))),
      h("div", { class: "actions" }, button("common.copy", "primary small", () => copy(address))),
    );
    address.focus();
    await showList();
  };

  const close = h("button", { type: "button", class: "button quiet", on: { click: () => dialog.close() } }, t("common.close"));
  const dialog = h(
    "dialog",
    { class: "dialog", "aria-labelledby": "watch-heading", on: { close: () => dialog.remove() } },
    h("h2", { id: "watch-heading" }, t("watch.heading")),
    h("p", null, t("watch.about")),
    h("div", { class: "row" }, h("label", { class: "label", for: "watch-lifetime" }, t("watch.lifetime")), h("div", { class: "field" }, lifetime), button("watch.make", "primary", make)),
    made,
    list,
    h("div", { class: "actions end" }, close),
  );
  document.body.append(dialog);
  dialog.showModal();
  lifetime.focus();
  showList().catch(showError);
}

/** Copy what a field holds. Without TLS a browser has no clipboard for scripts: then what is selected is copied. */
async function copy(field) {
  field.select();
  if (navigator.clipboard) await navigator.clipboard.writeText(field.value);
  else if (!document.execCommand("copy")) return;
  toast(t("common.copied"), { kind: "good" });
}
