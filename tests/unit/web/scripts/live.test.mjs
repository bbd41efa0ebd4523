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

function one(state) {
  return { id: "a", role: "pusher", state, files: { failed: 0 } };
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
