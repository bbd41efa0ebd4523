// What this wiki and its server are, and what stands in the way of a transfer into it.

import { get } from "./api.js";
import { fill, h } from "./dom.js";
import { bytes, count, duration, hasText, t } from "./i18n.js";
import { showError } from "./shell.js";

/** Shows the summary in `cards` and what has to be mended in `problems`. `again()` asks the server anew. */
export class Summary {
  constructor({ cards, problems }) {
    this.cards = cards;
    this.problems = problems;
    this.round = 0;
  }

  /** Resolves with the instance as the server tells it, or null; errors are shown. */
  async again() {
    const round = ++this.round;
    try {
      const { instance } = await get("/instance");
      if (round === this.round) this.show(instance);
      return instance;
    } catch (error) {
      if (round === this.round) showError(error);
      return null;
    }
  }

  show(instance) {
    const { database, storage, limits, origin } = instance;
    const of = (now, most) => (most === null ? t("destination.without_limit", { now }) : t("destination.of_limit", { now, most }));
    fill(
      this.cards,
      card("wiki", [
        ["title", instance.title ?? t("destination.unknown")],
        ["growi_version", instance.growi_version ?? t("destination.unknown")],
        ["pages", count(database.pages)],
        ["users", count(database.users)],
        ["maintenance", badge(instance.maintenance_mode ? "warn" : "good", instance.maintenance_mode ? "on" : "off")],
      ]),
      card("database", [
        ["mongo_version", database.mongo_version],
        ["database_name", database.name],
        ["replica_set", t(database.replica_set ? "common.yes" : "common.no")],
        ["free", space(database.free_bytes)],
      ]),
      card("storage", [
        ["storage_type", typeName(storage.type)],
        ["writable", badge(storage.writable ? "good" : "bad", storage.writable ? "can_be_written" : "cannot_be_written")],
        ["attachments", t("destination.files_and_bytes", { count: storage.attachments, bytes: bytes(storage.bytes) })],
        ["free", space(storage.free_bytes)],
      ]),
      card("limits", [
        ["limit_users", of(count(limits.active_users), limits.users === null ? null : count(limits.users))],
        ["limit_attachments", of(bytes(storage.bytes), limits.attachment_bytes === null ? null : bytes(limits.attachment_bytes))],
        ["limit_file", limits.file_bytes === null ? t("destination.no_limit") : bytes(limits.file_bytes)],
        ["uploads", t(limits.uploads_disabled ? "destination.uploads_off" : "destination.uploads_on")],
      ]),
      card("server", [
        ["version", instance.version],
        ["origin", origin.url ?? t("destination.not_set")],
        ["retention", duration(instance.retention_seconds)],
        ["instance_id", h("span", { class: "mono", title: instance.instance_id }, instance.instance_id.slice(0, 12))],
      ]),
    );
    fill(this.problems, problemsOf(instance));
  }
}

function problemsOf({ origin, storage, growi_version }) {
  const found = [];
  // The address in the browser is a good guess, unless it is this machine's own name for itself.
  const local = /^(localhost|127\.|\[::1\])/.test(location.host);
  const guess = local ? t("destination.example_origin", { port: location.port || "3400" }) : location.origin;
  if (origin.url === null) {
    found.push(note("bad", "no_origin", { setting: setting(`GROWI_TRANSFER_ORIGIN=${guess}`) }));
  } else if (origin.only_this_machine) {
    found.push(note("warn", "local_origin", { origin: origin.url, setting: setting(`GROWI_TRANSFER_ORIGIN=${guess}`) }));
  }
  if (!storage.writable) found.push(note("bad", "storage", { setting: h("span", null, `${storage.fault.message} `, h("code", null, storage.fault.code)) }));
  if (!growi_version) found.push(note("warn", "growi_version", { setting: setting("GROWI_VERSION=7.3.0") }));
  return found;
}

function note(kind, name, { setting: shown, ...params }) {
  return h(
    "div",
    { class: `note ${kind} stack`, dataset: { problem: name } },
    h("strong", null, t(`destination.problem.${name}`, params)),
    h("p", null, t(`destination.problem.${name}_do`, params)),
    h("p", { class: "break" }, shown),
  );
}

function setting(text) {
  return h("code", null, text);
}

function card(name, facts) {
  return h(
    "section",
    { class: "card flat", dataset: { summary: name } },
    h("h3", null, t(`destination.summary.${name}`)),
    h("dl", { class: "facts" }, facts.map(([fact, value]) => h("div", { dataset: { fact } }, h("dt", null, t(`destination.fact.${fact}`)), h("dd", null, value)))),
  );
}

function badge(kind, word) {
  return h("span", { class: `badge ${kind}` }, t(`destination.${word}`));
}

function space(value) {
  return value === null ? t("destination.unknown") : bytes(value);
}

function typeName(type) {
  return hasText(`destination.storage.${type}`) ? t(`destination.storage.${type}`) : type;
}
