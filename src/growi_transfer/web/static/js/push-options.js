// What an operator chooses for a push, as `POST preflight` and `POST transfer` take it. Pure: no page, no requests.

const SEPARATOR = "__grw_internal_tranferkey__";
export const MIB = 1 << 20;

export const MERGE_KINDS = {
  users: ["match", "map", "rename", "skip"],
  groups: ["map", "rename", "skip"],
  pages: ["skip", "overwrite", "rename"],
  external_accounts: ["map", "skip"],
  documents: ["skip", "overwrite"],
};

/** Where a key leads to, or null when the text is no whole key. */
export function originOfKey(text) {
  const [token, origin, ...more] = text.trim().split(SEPARATOR);
  if (!token || !origin || more.length > 0 || /\s/.test(token)) return null;
  try {
    const { protocol, host } = new URL(origin);
    return host && (protocol === "http:" || protocol === "https:") ? `${protocol}//${host}` : null;
  } catch {
    return null;
  }
}

/** Lines that say something, each once. */
export function linesOf(text) {
  return [...new Set(text.split("\n").map((line) => line.trim()).filter(Boolean))];
}

/** The first line that is no pattern of page paths, or null. The server has the last word. */
export function wrongPattern(lines) {
  return lines.find((line) => !line.startsWith("/") || line.includes("//")) ?? null;
}

/** MiB a second, as somebody wrote them, in bytes; null for nothing, NaN for what is no such number. */
export function bandwidthOf(text) {
  const wanted = text.trim().replace(",", ".");
  if (!wanted) return null;
  const bytes = Math.round(Number(wanted) * MIB);
  return bytes >= 1024 && bytes <= 2 ** 40 ? bytes : NaN;
}

/** What a first look asks for. */
export function firstChoice() {
  return {
    excludeCollections: [],
    excludePaths: [],
    accept: [],
    merge: null,
    volumes: null,
    attachments: null,
    bandwidth: null,
    commit: true,
    follow: false,
    freeze: false,
    deep: false,
    attachmentsFirst: false,
  };
}

/** The body of a request. */
export function bodyOf(key, choice) {
  return {
    transferKey: key.trim(),
    options: {
      parallelism: { volumes: choice.volumes, attachments: choice.attachments },
      bandwidth_bytes_per_second: choice.bandwidth,
      exclude_collections: [...choice.excludeCollections].sort(),
      exclude_paths: [...choice.excludePaths],
      accept_warnings: [...choice.accept],
      commit: choice.commit,
      follow: choice.follow,
      freeze: choice.freeze,
      deep: choice.deep,
      attachments_first: choice.attachmentsFirst,
      ...(choice.merge ? { merge: choice.merge } : {}),
    },
  };
}

/** A text that is equal for two choices exactly when the same things move: a report stands for one such text. */
export function whatMoves(choice) {
  return JSON.stringify([[...choice.excludeCollections].sort(), [...choice.excludePaths].sort(), choice.merge]);
}

/** Codes of warnings that are not accepted. */
export function unaccepted(report, choice) {
  return [...new Set(report.warnings.map(({ code }) => code))].filter((code) => !choice.accept.includes(code));
}

/** Sums over the collections that are ticked. */
export function sumOf(collections, excluded) {
  const moving = collections.filter(({ name }) => !excluded.includes(name));
  const add = (name) => moving.reduce((sum, one) => sum + one[name], 0);
  return { collections: moving.length, documents: add("documents"), bytes: add("bytes") };
}

/** All collections that somebody may choose from: those that move, and those that he left out. */
export function choosable(report) {
  const left = report.not_moving.filter(({ reason }) => reason === "excluded").map((one) => ({ kind: "collection", ...one }));
  return [...report.collections, ...left].sort((one, other) => other.bytes - one.bytes || (one.name < other.name ? -1 : 1));
}

/** Seconds that a push takes at least under a limit; null when nobody can know. */
export function expectedSeconds(report, bytes, bandwidth) {
  if (report.expected_seconds === null) return bandwidth ? bytes / bandwidth : null;
  return Math.max(report.expected_seconds, bandwidth ? bytes / bandwidth : 0);
}
