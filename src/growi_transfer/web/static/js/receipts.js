// The receipt of a transfer: what it says, a file to keep, and its check, now or of a file that was kept.

import { get, send } from "./api.js";
import { fill, h } from "./dom.js";
import { bytes, count, date, hasText, t } from "./i18n.js";
import { errorText } from "./shell.js";

const SHOWN = 20;

/** Show the receipt of a transfer in a dialog. Resolves when it is closed. */
export async function showReceipt(transferId) {
  const body = h("div", { class: "stack" }, h("p", { role: "status" }, t("receipt.loading")));
  const close = h("button", { type: "button", class: "button quiet", on: { click: () => dialog.close() } }, t("common.close"));
  const dialog = h("dialog", { class: "dialog", "aria-labelledby": "receipt-title" }, h("h2", { id: "receipt-title" }, t("receipt.title")), body, h("div", { class: "actions end" }, close));
  const before = document.activeElement;
  const closed = new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
  document.body.append(dialog);
  dialog.showModal();
  let file = null;
  try {
    const receipt = await get(`/transfers/${transferId}/receipt`);
    const text = JSON.stringify(receipt, null, 2);
    file = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    const name = `receipt-${transferId.slice(0, 8)}.json`;
    const verdict = h("div", { class: "stack", "aria-live": "polite" });
    const check = h("button", { type: "button", class: "button", id: "check-receipt", on: { click: () => verify(text, true, verdict, check) } }, t("receipt.check_now"));
    fill(
      body,
      h("p", { class: "hint" }, t("receipt.what")),
      facts(receipt),
      h("div", { class: "actions" }, h("a", { class: "button primary", href: file, download: name, id: "download-receipt" }, t("receipt.download")), check),
      h("p", { class: "hint" }, t("receipt.check_hint")),
      verdict,
    );
  } catch (error) {
    fill(body, h("p", { class: "note bad", role: "alert" }, errorText(error)));
  }
  await closed;
  if (file) URL.revokeObjectURL(file);
  dialog.remove();
  before?.focus?.();
}

/** A form that checks a receipt somebody kept, into `place`. */
export function receiptForm(place) {
  const verdict = h("div", { class: "stack", "aria-live": "polite" });
  const file = h("input", { type: "file", class: "input", id: "receipt-file", accept: ".json,application/json", required: true });
  const data = h("input", { type: "checkbox", id: "receipt-data" });
  const submit = h("button", { type: "submit", class: "button" }, t("receipt.check"));
  const check = async (event) => {
    event.preventDefault();
    if (file.files.length) await verify(await file.files[0].text(), data.checked, verdict, submit);
  };
  fill(
    place,
    h("h2", null, t("receipt.form")),
    h("p", { class: "hint" }, t("receipt.form_what")),
    h(
      "form",
      { class: "stack", on: { submit: check } },
      h("div", { class: "field" }, h("label", { for: "receipt-file" }, t("receipt.file")), file),
      h("label", { class: "check" }, data, h("span", null, t("receipt.with_data"))),
      h("div", { class: "actions" }, submit),
    ),
    verdict,
  );
}

async function verify(text, data, place, button) {
  button.disabled = true;
  button.ariaBusy = "true";
  fill(place, h("p", null, t(data ? "receipt.reading" : "receipt.checking")));
  try {
    fill(place, verdictOf(await send("POST", `/receipts/verify?data=${data}`, undefined, { json: text })));
  } catch (error) {
    fill(place, h("p", { class: "note bad" }, errorText(error)));
  } finally {
    button.ariaBusy = null;
    button.disabled = false;
  }
}

function verdictOf(verdict) {
  const { data } = verdict;
  const lines = [
    t("receipt.genuine", { id: verdict.transfer.slice(0, 8), state: t(`transfer.state.${verdict.state}`) }),
    ...Object.entries(verdict.signatures).map(([role, mark]) => t(`receipt.mark.${mark}`, { role: t(`receipt.side.${role}`) })),
    verdict.newest_version > verdict.version ? t("receipt.newer", { version: verdict.version, newest: verdict.newest_version }) : null,
  ];
  if (data) {
    lines.push(t("receipt.collections_same", { same: count(data.collections - data.collections_changed.length), all: count(data.collections) }));
    lines.push(
      data.attachments_checked
        ? t("receipt.attachments_same", { same: count(data.attachments - data.attachments_changed_total), all: count(data.attachments) })
        : t("receipt.attachments_unknown"),
    );
  }
  const changed = data ? [...data.collections_changed.map(changedText), ...data.attachments_changed].slice(0, SHOWN) : [];
  return h(
    "div",
    { class: `note ${verdict.ok ? "good" : "warn"} stack`, dataset: { verdict: verdict.ok ? "good" : "changed" } },
    h("strong", null, t(verdict.ok ? (data ? "receipt.ok_data" : "receipt.ok") : "receipt.changed")),
    h("ul", null, lines.filter(Boolean).map((line) => h("li", null, line))),
    changed.length ? [h("p", null, t("receipt.changed_list")), h("ul", null, changed.map((line) => h("li", { class: "break" }, line)))] : null,
  );
}

function changedText({ collection, what, documents, documents_now }) {
  const how = documents_now === undefined ? t(`receipt.what_changed.${what}`) : t("receipt.documents_changed", { then: count(documents), now: count(documents_now) });
  return `${collection}: ${how}`;
}

function facts({ receipt, signatures }) {
  const { attachments, times, setup } = receipt;
  const told = [
    ["state", `${t(`transfer.state.${receipt.state}`)}${receipt.final ? ` (${t("receipt.final")})` : ""}`],
    ["documents", t("receipt.in_collections", { documents: count(receipt.documents), count: receipt.collections.length, bytes: bytes(receipt.document_bytes) })],
    ["attachments", t("receipt.files", { count: attachments.files, bytes: bytes(attachments.bytes) })],
    ["how", t(attachments.deep ? "receipt.deep" : "receipt.on_arrival")],
    ["preset", hasText(`receipt.preset.${setup.preset}`) ? t(`receipt.preset.${setup.preset}`) : setup.preset],
    ["left_out", t("receipt.left_out_files", { skipped: count(receipt.skipped_files), failed: count(receipt.failed_files) })],
    ["accepted", receipt.accepted_warnings.map(({ code }) => code).join(", ") || t("receipt.nothing")],
    ["verified", times.verified_at ? date(times.verified_at) : ""],
    ["committed", times.committed_at ? date(times.committed_at) : ""],
    ["rolled_back", times.rolled_back_at ? date(times.rolled_back_at) : ""],
    ["signed", signatures.map(({ role }) => t(`receipt.side.${role}`)).join(", ")],
  ];
  return h("dl", { class: "facts" }, told.filter(([, value]) => value !== "").map(([name, value]) => h("div", { dataset: { fact: name } }, h("dt", null, t(`receipt.fact.${name}`)), h("dd", null, value))));
}
