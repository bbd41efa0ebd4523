import assert from "node:assert/strict";
import test from "node:test";
import { load } from "./load.mjs";

const { bandwidthOf, bodyOf, choosable, expectedSeconds, firstChoice, linesOf, originOfKey, sumOf, unaccepted, whatMoves, wrongPattern } = await load("push-options");
const KEY = "abc.def-ghi__grw_internal_tranferkey__https://new.example:8443";
const REPORT = {
  blockers: [],
  warnings: [{ code: "one" }, { code: "two" }],
  collections: [{ name: "pages", kind: "collection", documents: 5, bytes: 500 }, { name: "revisions", kind: "collection", documents: 50, bytes: 9000 }],
  not_moving: [{ name: "sessions", reason: "operating_state", documents: 1, bytes: 1 }, { name: "activities", reason: "excluded", documents: 7, bytes: 700 }],
  expected_seconds: 4,
};

test("a key tells where it leads, and what is no whole key does not", () => {
  assert.equal(originOfKey(`  ${KEY}\n`), "https://new.example:8443");
  for (const text of ["", "abc", "abc__grw_internal_tranferkey__", "__grw_internal_tranferkey__https://x", `${KEY}${KEY}`, "a b__grw_internal_tranferkey__https://x", "abc__grw_internal_tranferkey__ftp://x", "abc__grw_internal_tranferkey__nowhere"]) {
    assert.equal(originOfKey(text), null, text);
  }
});

test("a bandwidth is MiB a second", () => {
  assert.equal(bandwidthOf(""), null);
  assert.equal(bandwidthOf(" 2.5 "), 2.5 * 1024 * 1024);
  assert.equal(bandwidthOf("2,5"), 2.5 * 1024 * 1024);
  for (const text of ["0", "-1", "fast", "0.0001", "1e99", "NaN"]) assert.ok(Number.isNaN(bandwidthOf(text)), text);
});

test("page paths are lines", () => {
  assert.deepEqual(linesOf("/trash\n\n  /user/*/drafts \n/trash\n"), ["/trash", "/user/*/drafts"]);
  assert.equal(wrongPattern(["/trash", "/user/*/drafts"]), null);
  assert.equal(wrongPattern(["/trash", "drafts"]), "drafts");
  assert.equal(wrongPattern(["/a//b"]), "/a//b");
});

test("a report stands for what moves, however fast and under whatever consent", () => {
  const choice = { ...firstChoice(), excludeCollections: ["b", "a"] };
  assert.equal(whatMoves(choice), whatMoves({ ...choice, excludeCollections: ["a", "b"], accept: ["x"], volumes: 5, commit: false }));
  assert.notEqual(whatMoves(choice), whatMoves({ ...choice, excludePaths: ["/trash"] }));
  assert.notEqual(whatMoves(choice), whatMoves({ ...choice, merge: { pages: "skip" } }));
});

test("every warning needs its own consent", () => {
  const warnings = [...REPORT.warnings, { code: "one" }];
  assert.deepEqual(unaccepted({ ...REPORT, warnings }, { ...firstChoice(), accept: ["two", "other"] }), ["one"]);
});

test("what was left out can be chosen again, what never moves cannot", () => {
  const all = choosable(REPORT);
  assert.deepEqual(all.map(({ name }) => name), ["revisions", "activities", "pages"]);
  assert.deepEqual(sumOf(all, ["activities"]), { collections: 2, documents: 55, bytes: 9500 });
});

test("a limit makes it slower, never faster", () => {
  assert.equal(expectedSeconds(REPORT, 1000, null), 4);
  assert.equal(expectedSeconds(REPORT, 1000, 100), 10);
  assert.equal(expectedSeconds(REPORT, 1000, 1e9), 4);
  assert.equal(expectedSeconds({ ...REPORT, expected_seconds: null }, 1000, null), null);
});

test("bodies for the server to read", () => {
  const merge = { users: "match", groups: "map", pages: "skip", external_accounts: "map", documents: "skip", substitute: "", items: { pages: { "/a": "rename" } } };
  const chosen = { ...firstChoice(), excludeCollections: ["activities"], excludePaths: ["/trash"], accept: ["one"], volumes: 5, bandwidth: 1 << 20, commit: false, follow: true, freeze: true, deep: true, attachmentsFirst: true, merge };
  console.log(`BODIES ${JSON.stringify([bodyOf(KEY, firstChoice()), bodyOf(` ${KEY} `, chosen)])}`);
});
