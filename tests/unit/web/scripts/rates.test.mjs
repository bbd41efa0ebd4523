import assert from "node:assert/strict";
import test from "node:test";
import { load } from "./load.mjs";

const { WINDOW, curves, niceCeiling, paths, spanOf, summary, timeLeft, withSample } = await load("rates");
const NOW = 1_790_000_000_000;
const MIB = 1 << 20;

/** One sample a second, `rates` in bytes, the last one now. */
function samplesOf(rates) {
  return rates.map((rate, index) => [NOW - (rates.length - 1 - index) * 1000, rate]);
}

test("one sample a second is kept, for five minutes", () => {
  let samples = [];
  for (let time = 0; time < 400_000; time += 250) samples = withSample(samples, NOW + time, time);
  assert.equal(samples.length, 301);
  assert.ok(samples.at(-1)[0] - samples[0][0] <= WINDOW);
  assert.equal(withSample(samples, samples.at(-1)[0] + 999, 5), samples);
});

test("after a sleep the old samples are gone, and a clock that was set back leaves none of the future", () => {
  assert.deepEqual(withSample(samplesOf([1, 2, 3]), NOW + WINDOW + 5000, 7), [[NOW + WINDOW + 5000, 7]]);
  assert.equal(withSample(samplesOf([1, 2, 3]), NOW - 60_000, 7).filter(([time]) => time > NOW - 60_000).length <= 3, true);
});

test("now, mean and highest", () => {
  assert.deepEqual(summary(samplesOf([2, 6, 4])), { now: 4, mean: 4, most: 6 });
  assert.deepEqual(summary([]), { now: 0, mean: 0, most: 0 });
});

test("the time left is that of the last minute's mean speed", () => {
  const steady = samplesOf(Array(120).fill(2 * MIB));
  assert.equal(timeLeft({ done: 0, total: 120 * MIB }, steady), 60);
  assert.equal(timeLeft({ done: 120 * MIB, total: 120 * MIB }, steady), 0);
  const faster = samplesOf([...Array(60).fill(MIB), ...Array(61).fill(4 * MIB)]);
  assert.equal(timeLeft({ done: 0, total: 240 * MIB }, faster), 60);
});

test("nobody knows the time left at once, while nothing moves, or when more came than was counted", () => {
  assert.equal(timeLeft({ done: 0, total: 1 }, []), null);
  assert.equal(timeLeft({ done: 0, total: MIB }, samplesOf([MIB, MIB, MIB])), null);
  assert.equal(timeLeft({ done: 0, total: MIB }, samplesOf(Array(30).fill(0))), null);
  assert.equal(timeLeft({ done: 2, total: 1 }, samplesOf(Array(30).fill(MIB))), null);
});

test("the top of the scale reads well and is never below the curve", () => {
  for (const value of [0, 1, 1024, 1025, 3000, 999 * 1024, 1023.5 * 1024, MIB, 7.3 * MIB, 55 * MIB, 700 * MIB, 3 * 1024 * MIB]) {
    const top = niceCeiling(value);
    assert.ok(top >= value, String(value));
    const unit = 2 ** (10 * Math.floor(Math.log2(top) / 10));
    assert.ok([1, 2, 5, 10, 20, 50, 100, 200, 500].includes(top / unit), `${value} ${top / unit}`);
  }
});

test("the curve shows a minute at least and five at most, and breaks where nothing was measured", () => {
  assert.equal(spanOf([], NOW), 60_000);
  assert.equal(spanOf([[NOW - 90_000, 1]], NOW), 90_000);
  assert.equal(spanOf([[NOW - WINDOW - 1, 1], [NOW - WINDOW, 1]], NOW), WINDOW);
  const box = { width: 600, height: 100, top: 10, span: 60_000 };
  const lines = curves([[NOW - 60_000, 0], [NOW - 59_000, 5], [NOW - 1000, 10], [NOW, 20]], NOW, box);
  assert.deepEqual(lines, [[[0, 100], [10, 50]], [[590, 0], [600, 0]]]);
  assert.deepEqual(paths([[0, 100], [10, 50]], 100), { line: "M0 100L10 50", area: "M0 100L10 50L10 100L0 100Z" });
});
