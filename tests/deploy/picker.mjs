// How work is shared among servers of different speed, in a simulation of two servers and of 1,000: what the chart makes (a
// route's weights between pools, a picker's queue scorer inside), held against turns, and against one picker over all. Prints
// what docs/scale.md quotes. The formula is that of the Gateway API Inference Extension's scorers: a server's queue between the
// longest and the shortest one, and its free share of the KV cache; the best wins, a random one among equals.
import assert from 'node:assert/strict';
import test from 'node:test';

// A generator of its own, so that each run is the same.
function random(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

// Continuous batching: up to `slots` answers at once share `speed` tokens a second; one alone gets `single` at most. The rest
// wait in order.
class Machine {
  constructor({ kind, speed, single, slots, cacheTokens }) {
    Object.assign(this, { kind, speed, single, slots, cacheTokens, running: [], waiting: [], now: 0, tokens: 0, used: 0 });
  }
  admit() {
    while (this.waiting.length && this.running.length < this.slots && this.used + this.waiting[0].total <= this.cacheTokens) {
      const request = this.waiting.shift();
      request.started = this.now;
      this.used += request.total;
      this.running.push(request);
    }
  }
  add(request) { this.waiting.push(request); this.admit(); }
  rate() { return Math.min(this.single, this.speed / this.running.length); }
  // Goes on to `time`; answers that end are given to `done`.
  advance(time, done) {
    while (this.running.length && this.now < time) {
      const rate = this.rate();
      let least = Infinity;
      for (const request of this.running) if (request.left < least) least = request.left;
      const step = Math.min(least / rate, time - this.now);
      this.now += step;
      for (const request of this.running) { request.left -= step * rate; this.tokens += step * rate; }
      const ended = this.running.filter((request) => request.left < 1e-6);
      if (!ended.length) continue;
      this.running = this.running.filter((request) => request.left >= 1e-6);
      for (const request of ended) { this.used -= request.total; request.ended = this.now; done(request, this); }
      this.admit();
    }
    this.now = time;
  }
}

// The picker: `seen` is what it last read of each server.
function best(among, seen, weights, rng) {
  let [longest, shortest] = [0, Infinity];
  for (const i of among) { longest = Math.max(longest, seen[i].queue); shortest = Math.min(shortest, seen[i].queue); }
  let most = -1, chosen = [];
  for (const i of among) {
    const queue = longest === shortest ? 1 : (longest - seen[i].queue) / (longest - shortest);
    const score = weights.queue * queue + weights.kvCache * (1 - seen[i].usage);
    if (score > most + 1e-9) { most = score; chosen = [i]; } else if (score > most - 1e-9) chosen.push(i);
  }
  return chosen[Math.floor(rng() * chosen.length)];
}

// A pool by the route's weights: its pods times the tokens a second of one.
function pools(machines, rng) {
  const kinds = [...new Set(machines.map((one) => one.kind))].map((kind) => {
    const members = [...machines.keys()].filter((i) => machines[i].kind === kind);
    return { members, weight: members.length * machines[members[0]].speed };
  });
  const total = kinds.reduce((sum, one) => sum + one.weight, 0);
  return () => {
    let point = rng() * total;
    return (kinds.find(({ weight }) => (point -= weight) <= 0) ?? kinds.at(-1)).members;
  };
}

// Each makes a function that chooses a server by what was last read of all.
const policies = {
  'in turns': (machines) => { let next = 0; return () => next++ % machines.length; },
  'one picker, queue and cache': (machines, rng) => { const all = [...machines.keys()]; return (seen) => best(all, seen, { queue: 2, kvCache: 2 }, rng); },
  'one picker, queue': (machines, rng) => { const all = [...machines.keys()]; return (seen) => best(all, seen, { queue: 2, kvCache: 0 }, rng); },
  'route weights': (machines, rng) => { const pool = pools(machines, rng); return () => { const members = pool(); return members[Math.floor(rng() * members.length)]; }; },
  'route weights, picker a pool': (machines, rng) => { const pool = pools(machines, rng); return (seen) => best(pool(), seen, { queue: 2, kvCache: 0 }, rng); },
};
const ours = 'route weights, picker a pool';

function simulate(kinds, policy, { load, seconds, scrape = 0.05, seed = 1 }) {
  const rng = random(seed);
  const machines = kinds.flatMap((kind) => Array.from({ length: kind.count }, () => new Machine(kind)));
  const capacity = machines.reduce((sum, one) => sum + one.speed, 0);
  const answer = 200;
  const pick = policies[policy](machines, rng);
  const finished = [];
  const done = (request, machine) => finished.push({ ...request, kind: machine.kind });
  let seen = machines.map(() => ({ queue: 0, usage: 0 }));
  const perSecond = load * capacity / answer;
  let [clock, lastScrape] = [0, 0];
  while (clock < seconds) {
    clock += -Math.log(1 - rng()) / perSecond;
    while (lastScrape + scrape < clock) {
      lastScrape += scrape;
      seen = machines.map((one) => { one.advance(lastScrape, done); return { queue: one.waiting.length, usage: one.used / one.cacheTokens }; });
    }
    const tokens = Math.max(1, Math.round(-Math.log(1 - rng()) * answer));
    const machine = machines[pick(seen)];
    machine.advance(clock, done);
    machine.add({ arrived: clock, left: tokens, tokens, total: tokens + 300 });
  }
  const worked = machines.reduce((sum, one) => sum + one.tokens, 0);
  const shares = {};
  for (const { kind } of kinds) {
    const own = machines.filter((one) => one.kind === kind);
    shares[kind] = { work: own.reduce((sum, one) => sum + one.tokens, 0) / worked, capacity: own.reduce((sum, one) => sum + one.speed, 0) / capacity };
  }
  const waits = finished.map((one) => one.started - one.arrived).toSorted((a, b) => a - b);
  const left = machines.reduce((sum, one) => sum + one.waiting.length, 0);
  return { shares, wait99: waits[Math.floor(waits.length * 0.99)], left, finished: finished.length, longest: Math.max(...machines.map((one) => one.waiting.length)) };
}

// As the pools of helm/nacelle/examples/mixed.yaml: tokens a second of a full batch and of one answer alone.
const cuda = { kind: 'cuda', speed: 2400, single: 120, slots: 32, cacheTokens: 60000 };
const rocm = { kind: 'rocm', speed: 1900, single: 100, slots: 32, cacheTokens: 60000 };
const intel = { kind: 'intel', speed: 300, single: 40, slots: 16, cacheTokens: 16000 };
const cpu = { kind: 'cpu', speed: 60, single: 20, slots: 8, cacheTokens: 8000 };

const per = (value) => `${(100 * value).toFixed(1)} %`;
function show(title, result) {
  const shares = Object.entries(result.shares).map(([kind, { work, capacity }]) => `${kind} ${per(work)} of ${per(capacity)}`).join(', ');
  console.log(`# ${title}: work and capacity: ${shares}; 99 % wait ${result.wait99.toFixed(2)} s at most; ${result.left} wait at the end`);
}

test('two servers of different speed get work as they can do it', () => {
  const kinds = [{ ...cuda, count: 1 }, { ...intel, count: 1 }];
  const results = {};
  for (const policy of ['in turns', ours]) {
    results[policy] = simulate(kinds, policy, { load: 0.85, seconds: 300 });
    show(`2 servers, ${policy}`, results[policy]);
  }
  const { work, capacity } = results[ours].shares.intel;
  assert.ok(work < 1.15 * capacity && work > 0.7 * capacity, 'its share and no more');
  assert.ok(results['in turns'].left > 100 && results['in turns'].wait99 > 10 * results[ours].wait99, 'turns alone drown the slow one');
});

test('1,000 servers of four kinds', () => {
  const kinds = [{ ...cuda, count: 300 }, { ...rocm, count: 200 }, { ...intel, count: 200 }, { ...cpu, count: 300 }];
  const results = {};
  for (const policy in policies) {
    results[policy] = simulate(kinds, policy, { load: 0.85, seconds: 20 });
    show(`1,000 servers, ${policy}`, results[policy]);
  }
  // Slow answers that are not over yet make a slow kind's share look small in so short a time.
  for (const [kind, { work, capacity }] of Object.entries(results[ours].shares)) assert.ok(work < 1.1 * capacity && work > 0.5 * capacity, kind);
  assert.ok(results[ours].left < 50 && results[ours].wait99 < 0.5);
  for (const policy of ['in turns', 'one picker, queue and cache', 'one picker, queue']) assert.ok(results[policy].left > 10 * results[ours].left, policy);
});

test('1,000 servers: what old figures cost', () => {
  const kinds = [{ ...cuda, count: 1000 }];
  const left = [0.05, 0.5, 2].map((scrape) => ['route weights, picker a pool', 'one picker, queue and cache'].map((policy) => {
    const result = simulate(kinds, policy, { load: 0.85, seconds: 10, scrape });
    show(`1,000 equal servers read every ${scrape} s, ${policy}`, result);
    return result.left;
  }));
  for (const [queue, cache] of left) assert.ok(cache > queue, 'where the best wins, a herd runs to the one with most room');
});
