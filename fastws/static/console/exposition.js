/** A parser for the Prometheus text format as this server writes it, and rates of counters. Tested with Node. */

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;

/** Parse an exposition to a map of name -> list of `{labels, value}`. */
export function parse(text) {
  const samples = new Map();
  for (const line of text.split("\n")) {
    const match = line.startsWith("#") ? null : LINE.exec(line);
    if (!match) continue;
    const [, name, labels = "", value] = match;
    if (!samples.has(name)) samples.set(name, []);
    samples.get(name).push({
      labels: Object.fromEntries(Array.from(labels.matchAll(LABEL), ([, key, text_]) => [key, text_])),
      value: number(value),
    });
  }
  return samples;
}

/** Return the sum over all labels; NaN if the metric is missing. */
export function sum(samples, name) {
  return samples.has(name) ? samples.get(name).reduce((total, { value }) => total + value, 0) : NaN;
}

/** Return the smallest bucket bound that covers `share` of the new observations of a histogram; null if none. */
export function quantile(before, now, name, share) {
  const counts = (samples) =>
    new Map((samples?.get(`${name}_bucket`) ?? []).map(({ labels, value }) => [labels.le, value]));
  const old = counts(before);
  const fresh = [...counts(now)]
    .map(([bound, value]) => [number(bound), value - (old.get(bound) ?? 0)])
    .sort(([a], [b]) => a - b);
  const all = fresh.at(-1)?.[1] ?? 0;
  if (all <= 0) return null;
  return fresh.find(([, count]) => count >= share * all)[0];
}

/** The increase of a counter per second; 0 after a restart of the server. */
export class Rate {
  #last = null;

  next(value, atMs) {
    const last = this.#last;
    this.#last = { value, atMs };
    if (last === null || Number.isNaN(value) || atMs <= last.atMs) return last === null ? NaN : 0;
    return Math.max(0, (value - last.value) / ((atMs - last.atMs) / 1000));
  }
}

function number(text) {
  return text === "+Inf" ? Infinity : text === "-Inf" ? -Infinity : Number(text);
}
