// Speeds over the last minutes: samples in, a curve, a mean and a time left out. Pure: times are given, in milliseconds.

export const WINDOW = 5 * 60_000;
const LEAST = 60_000;
const STEP = 1000;
const LATELY = 60_000;
const ENOUGH = 8_000;

/** The samples with a new one, `[time, bytes a second]`, oldest first: at most one a second, none older than the window. */
export function withSample(samples, now, rate) {
  const last = samples.at(-1);
  if (last && now - last[0] < STEP) return samples;
  // After a sleep the old ones say nothing any more.
  return [...samples.filter(([time]) => now - time <= WINDOW && time <= now), [now, Math.max(0, rate)]];
}

/** `{ now, mean, most }` in bytes a second, of the samples there are. */
export function summary(samples) {
  if (samples.length === 0) return { now: 0, mean: 0, most: 0 };
  const rates = samples.map(([, rate]) => rate);
  return { now: rates.at(-1), mean: rates.reduce((sum, rate) => sum + rate, 0) / rates.length, most: Math.max(...rates) };
}

/** Seconds that are left at the mean speed of the last minute; null when nobody can know yet. */
export function timeLeft({ done, total }, samples) {
  const last = samples.at(-1);
  if (!last) return null;
  const lately = samples.filter(([time]) => last[0] - time <= LATELY);
  if (last[0] - lately[0][0] < ENOUGH) return null;
  const { mean } = summary(lately);
  const left = total - done;
  if (left < 0 || mean <= 0) return null;
  const seconds = left / mean;
  return seconds < 10 * 365 * 86400 ? Math.round(seconds) : null;
}

/** A round number that is not below `value`: 1, 2 or 5 times a power of two of bytes, so that a scale reads well. */
export function niceCeiling(value) {
  if (value <= 1024) return 1024;
  const unit = 2 ** (10 * Math.floor(Math.log2(value) / 10));
  const steps = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1024];
  return unit * steps.find((step) => step * unit >= value);
}

/** How much time a curve shows: all there is, from a minute up to the window. */
export function spanOf(samples, now) {
  const first = samples.find(([time]) => now - time <= WINDOW);
  return Math.min(WINDOW, Math.max(LEAST, first ? now - first[0] : 0));
}

/** Points of a curve in a box: x runs over the last `span` up to `now`, y is 0 at the bottom. A gap of more than 5 s ends a line. */
export function curves(samples, now, { width, height, top, span }) {
  const lines = [];
  let before = -Infinity;
  for (const [time, rate] of samples) {
    if (now - time > span) continue;
    if (time - before > 5000) lines.push([]);
    before = time;
    const x = width * (1 - (now - time) / span);
    const y = height * (1 - Math.min(1, rate / top));
    lines.at(-1).push([round(x), round(y)]);
  }
  return lines;
}

/** The path of a line, and of the area below it. */
export function paths(points, height) {
  const line = points.map(([x, y], index) => `${index ? "L" : "M"}${x} ${y}`).join("");
  const [first, last] = [points[0][0], points.at(-1)[0]];
  return { line, area: `${line}L${last} ${height}L${first} ${height}Z` };
}

function round(value) {
  return Math.round(value * 10) / 10;
}
