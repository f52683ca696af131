// /metrics as numbers: Prometheus' text format, and rates and quantiles of what happened between two looks.

const kLabel = /(\w+)="((?:[^"\\]|\\.)*)"/g;
const kEscapes = { n: '\n', '"': '"', '\\': '\\' };

// [{ name, labels, value }]
export function parse(text) {
  const samples = [];
  for (const line of text.split('\n')) {
    const match = line.match(/^([A-Za-z_:][\w:]*)(?:\{(.*)\})? (\S+)/);
    if (!match) continue;
    const labels = {};
    for (const [, name, value] of (match[2] ?? '').matchAll(kLabel)) labels[name] = value.replace(/\\(.)/g, (_, sign) => kEscapes[sign] ?? sign);
    samples.push({ name: match[1], labels, value: Number(match[3].replace('Inf', 'Infinity')) });
  }
  return samples;
}

// What one look at /metrics said, of one model or ('') of all together.
export class Look {
  constructor(samples, model, time) {
    this.time = time;
    this.samples = samples.filter(({ labels }) => model === '' || labels.model_name === undefined || labels.model_name === model);
  }

  sum(name) {
    let total = 0;
    for (const sample of this.samples) if (sample.name === name) total += sample.value;
    return total;
  }

  // Upper bounds of the buckets, with how many fell into each and those below.
  buckets(name) {
    const counts = new Map();
    for (const { name: found, labels, value } of this.samples) {
      if (found !== `${name}_bucket`) continue;
      const bound = Number(labels.le.replace('+Inf', 'Infinity'));
      counts.set(bound, (counts.get(bound) ?? 0) + value);
    }
    return [...counts].sort(([a], [b]) => a - b);
  }
}

// Per second. null where a counter went back: a model was unloaded, or the server is another one.
export function rate(before, now, name) {
  const change = now.sum(name) - before.sum(name);
  return change < 0 || now.time <= before.time ? null : change / (now.time - before.time);
}

// The `share`-quantile of what a histogram saw between two looks, interpolated inside its bucket as Prometheus does;
// null where it saw nothing.
export function quantile(before, now, name, share) {
  const old = new Map(before.buckets(name));
  const counts = now.buckets(name).map(([bound, count]) => [bound, count - (old.get(bound) ?? 0)]);
  const total = counts.at(-1)?.[1] ?? 0;
  if (!(total > 0) || counts.some(([, count]) => count < 0)) return null;
  const rank = share * total;
  let [lower, below] = [0, 0];
  for (const [bound, count] of counts) {
    if (count >= rank && count > below) return bound === Infinity ? lower : lower + (bound - lower) * ((rank - below) / (count - below));
    [lower, below] = [bound, count];
  }
  return lower;
}
