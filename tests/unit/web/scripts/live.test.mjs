import assert from "node:assert/strict";
import test from "node:test";
import { load } from "./load.mjs";

const { watch } = await load("live");

class Line {
  constructor() {
    Line.newest = this;
  }
  addEventListener(name, listener) {
    if (name === "message") this.hear = (data) => listener({ data });
  }
  send() {}
  close() {}
}

/** Requests wait here for their answers. */
const asked = [];
globalThis.fetch = () => new Promise((resolve) => asked.push(resolve));

async function answer(transfer) {
  asked.shift()({ ok: true, status: 200, text: async () => JSON.stringify({ transfer }) });
  await new Promise((resolve) => setImmediate(resolve));
}

function one(state, more = {}) {
  return { id: "a", role: "pusher", state, files: { failed: 0 }, ...more };
}

/** The line breaks down on the way, or something on it does. */
async function lose() {
  asked.shift()({ ok: false, status: 502, text: async () => "" });
  await new Promise((resolve) => setImmediate(resolve));
}

function tell(transfer) {
  Line.newest.hear(`42/admin,${JSON.stringify(["admin:g2gProgress", { transfer }])}`);
}

/** A page that has its state. */
async function live(first, onSnapshot) {
  asked.length = 0;
  const watching = watch({ transferId: "a", onSnapshot, origin: "http://wiki.example", Socket: Line });
  Line.newest.hear('0{"pingInterval":25000,"pingTimeout":20000}');
  Line.newest.hear("40/admin,{}");
  await answer(first);
  return watching;
}

test("an answer that is older than what the line has told changes nothing", async () => {
  const shown = [];
  const watching = watch({ transferId: "a", onSnapshot: ({ state }) => shown.push(state), origin: "http://wiki.example", Socket: Line });
  Line.newest.hear('0{"pingInterval":25000,"pingTimeout":20000}');
  Line.newest.hear("40/admin,{}");
  await answer(one("copying"));
  watching.refresh();
  watching.refresh();
  await answer(one("copying"));
  Line.newest.hear(`42/admin,${JSON.stringify(["admin:g2gProgress", { transfer: one("completed") }])}`);
  await answer(one("copying"));
  assert.equal(shown.at(-1), "completed");
  watching.close();
});

test("what the last event does not say is asked for until it has come", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const shown = [];
  const watching = await live(one("committing", { actions: [] }), (transfer) => shown.push(transfer));
  tell(one("completed"));
  for (let times = 0; times < 3; times += 1) {
    await lose();
    assert.equal(asked.length, 0);
    context.mock.timers.tick(4000); // more than the third wait, less than the silence that ends a line
    assert.equal(asked.length, 1);
  }
  await answer(one("completed", { actions: ["rollback"] }));
  assert.deepEqual(shown.at(-1), one("completed", { actions: ["rollback"] }));
  context.mock.timers.tick(20_000);
  assert.equal(asked.length, 0);
  watching.close();
});

test("one that should move and of which nothing is heard is asked for, and again when it moves", async () => {
  const shown = [];
  const watching = await live(one("copying"), ({ interrupted }) => shown.push(interrupted));
  watching.askSilent(Date.now() + 1000);
  assert.equal(asked.length, 0);
  watching.askSilent(Date.now() + 60_000);
  await answer(one("copying", { interrupted: true }));
  assert.equal(shown.at(-1), true);
  watching.askSilent(Date.now() + 120_000);
  assert.equal(asked.length, 0);
  tell(one("copying"));
  await answer(one("copying", { interrupted: false }));
  assert.equal(shown.at(-1), false);
  watching.close();
});
