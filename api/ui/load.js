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

// The points of all charts for one model, or ('') all together. Of the looks only those that a window needs are kept.
class Series {
  constructor(model) {
    Object.assign(this, { model, looks: [], points: kCharts.map(() => []) });
  }

  add(samples, time) {
    const now = new Look(samples, this.model, time);
    this.looks.push(now);
    while (this.looks[0].time < time - kWindow - kPeriod / 2000) this.looks.shift();
    const models = now.samples.filter(({ name }) => name === 'nacelle_model_info').length;
    kCharts.forEach(({ values }, index) => {
      const points = this.points[index];
      points.push({ time, values: values(this.looks[0], now, models) });
      if (points.length > kKept) points.shift();
    });
  }
}

export class LoadPanel {
  // `onModels()` is called whenever /metrics knows of other models, or places of them, than before.
  constructor(onModels) {
    this.onModels = onModels;
    this.charts = kCharts.map((options) => new Chart(options));
    this.series = new Map([['', new Series('')]]);
    this.models = '';
    byId('charts').append(...this.charts.map(({ element }) => element));
    byId('chart-model').addEventListener('change', () => this.#draw());
    byId('span').addEventListener('change', () => this.#draw());
    byId('pause').addEventListener('click', () => this.#pause());
    document.addEventListener('visibilitychange', () => this.#look());
    this.paused = false;
    this.#look();
  }

  #pause() {
    this.paused = !this.paused;
    byId('pause').textContent = this.paused ? 'Go on' : 'Pause';
    this.#look();
  }

  // One at a time: the next is timed when this one has its answer.
  async #look() {
    clearTimeout(this.timer);
    if (this.paused || document.hidden || this.looking) return;
    this.looking = true;
    try {
      const samples = parse(await (await call('metrics')).text());
      this.#noticeModels(samples);
      for (const series of this.series.values()) series.add(samples, performance.now() / 1000);
      byId('load-fault').textContent = '';
      this.#draw();
    } catch (error) {
      byId('load-fault').textContent = error.message;
    }
    this.looking = false;
    this.timer = setTimeout(() => this.#look(), kPeriod);
  }

  #noticeModels(samples) {
    const models = samples.filter(({ name }) => name === 'nacelle_model_info').map(({ labels }) => labels);
    const key = JSON.stringify(models);
    if (key === this.models) return;
    this.models = key;
    const names = [...new Set(models.map(({ model_name: name }) => name))];  // one may have several readers
    for (const name of names) if (!this.series.has(name)) this.series.set(name, new Series(name));
    setOptions(byId('chart-model'), [['', 'All models'], ...names]);
    this.onModels();
  }

  #draw() {
    const { points } = this.series.get(byId('chart-model').value);
    this.charts.forEach((chart, index) => chart.show(points[index], Number(byId('span').value)));
  }
}
