// The load, live: /metrics once a second while the page can be seen, kept for an hour in this page alone.
import { Chart } from './chart.js';
import { byId, percent, seconds, setOptions, short } from './dom.js';
import { call } from './server.js';
import { Look, parse, quantile, rate } from './metrics.js';

const kPeriod = 1000;   // milliseconds
const kWindow = 10;     // seconds that rates and quantiles look back
const kKept = 3600;     // looks

const count = (value) => String(Math.round(value * 10) / 10);
const quantiles = (name) => (before, now) => [0.5, 0.99].map((share) => quantile(before, now, name, share));
const lookBack = `of the last ${kWindow} s`;

// A chart, and its values from a look and one `kWindow` seconds before.
const kCharts = [
  { title: 'Requests', note: 'In the batch, and in the queue', series: ['running', 'waiting'], format: count, least: 4,
    values: (before, now) => [now.sum('nacelle_num_requests_running'), now.sum('nacelle_num_requests_waiting')] },
  { title: 'Tokens a second', note: `Computed, ${lookBack}`, series: ['answers', 'prompts'], format: short, least: 10,
    values: (before, now) => ['nacelle_generation_tokens_total', 'nacelle_prompt_tokens_total'].map((name) => rate(before, now, name)) },
  { title: 'KV blocks in use', note: 'Share of the cache that sequences hold', series: ['in use'], format: percent, least: 1, most: 1,
    values: (before, now, models) => [models ? now.sum('nacelle_kv_cache_usage_perc') / models : null] },
  { title: 'Time to first token', note: `Requests ${lookBack}`, series: ['p50', 'p99'], format: seconds, least: 0.001,
    values: quantiles('nacelle_time_to_first_token_seconds') },
  { title: 'Between two tokens', note: `Tokens ${lookBack}`, series: ['p50', 'p99'], format: seconds, least: 0.001,
    values: quantiles('nacelle_inter_token_latency_seconds') },
  { title: 'Prefix cache', note: `Prompt tokens found there, ${lookBack}`, series: ['found'], format: percent, least: 1, most: 1,
    values: (before, now) => {
      const asked = rate(before, now, 'nacelle_prefix_cache_queries_total');
      return [asked ? rate(before, now, 'nacelle_prefix_cache_hits_total') / asked : null];
    } },
];

export class LoadPanel {
  // `onModels(names)` is told which models /metrics knows of, whenever that changes.
  constructor(onModels) {
    this.onModels = onModels;
    this.charts = kCharts.map((options) => new Chart(options));
    this.history = [];  // { time, samples }, the newest last
    this.names = '';
    byId('charts').append(...this.charts.map(({ element }) => element));
    byId('chart-model').addEventListener('change', () => this.#draw());
    byId('span').addEventListener('change', () => this.#draw());
    byId('pause').addEventListener('click', () => this.#pause());
    document.addEventListener('visibilitychange', () => { if (!document.hidden) this.#look(); });
    this.paused = false;
    this.#look();
  }

  #pause() {
    this.paused = !this.paused;
    byId('pause').textContent = this.paused ? 'Go on' : 'Pause';
    if (!this.paused) this.#look();
  }

  // One at a time: the next is timed when this one has its answer.
  async #look() {
    clearTimeout(this.timer);
    if (this.paused || document.hidden || this.looking) return;
    this.looking = true;
    try {
      const samples = parse(await (await call('metrics')).text());
      this.history.push({ time: performance.now() / 1000, samples });
      if (this.history.length > kKept) this.history.shift();
      byId('load-fault').textContent = '';
      this.#noticeModels(samples);
      this.#draw();
    } catch (error) {
      byId('load-fault').textContent = error.message;
    }
    this.looking = false;
    this.timer = setTimeout(() => this.#look(), kPeriod);
  }

  #noticeModels(samples) {
    const names = samples.filter(({ name }) => name === 'nacelle_model_info').map(({ labels }) => `${labels.model_name}\n${labels.placement}`);
    if (names.join() === this.names) return;
    this.names = names.join();
    const plain = names.map((name) => name.split('\n')[0]);
    setOptions(byId('chart-model'), [['', 'All models'], ...plain]);
    this.onModels(plain);
  }

  #draw() {
    const model = byId('chart-model').value;
    const span = Number(byId('span').value);
    const end = this.history.at(-1)?.time ?? 0;
    // Points are computed once for each choice of model, and then one by one.
    if (this.model !== model) Object.assign(this, { model, looks: [], points: this.charts.map(() => []) });
    for (const { time, samples } of this.history.filter((one) => one.time > (this.looks.at(-1)?.time ?? -1))) {
      const now = new Look(samples, model, time);
      this.looks.push(now);
      const before = this.looks.find((one) => one.time >= time - kWindow - kPeriod / 2000);
      const models = now.samples.filter(({ name }) => name === 'nacelle_model_info').length;
      kCharts.forEach(({ values }, index) => {
        this.points[index].push({ time, values: values(before, now, models) });
        if (this.points[index].length > kKept) this.points[index].shift();
      });
      while (this.looks.length > 1 && this.looks[0].time < time - 2 * kWindow) this.looks.shift();
    }
    this.charts.forEach((chart, index) => chart.show(this.points[index].filter(({ time }) => time >= end - span), span));
  }
}
