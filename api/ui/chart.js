// A small line chart: one or two series over time, drawn as SVG at the size it has on the page. The pointer or the arrow
// keys read single moments; the latest values stand beside the title as text.
import { announce, el, svg } from './dom.js';

const kHeight = 150;
const kLongestStep = 10;  // seconds between two points that a line joins: the page may have been away
const kMargin = { top: 8, right: 4, bottom: 20, left: 54 };

// Ends of the axis: the smallest of 1, 2, 2.5, 5 times a power of ten that holds `value`.
export function niceCeiling(value, least) {
  const wanted = Math.max(value, least);
  const power = 10 ** Math.floor(Math.log10(wanted));
  return [1, 2, 2.5, 5, 10].map((step) => step * power).find((step) => step >= wanted * 0.9999);
}

const ago = (seconds) => (seconds < 60 ? `${Math.round(seconds)} s ago` : `${Math.round(seconds / 60)} min ago`);

export class Chart {
  // `series`: names; `format(value)`: text of a value; `least`: the axis reaches at least this far; `most`: and ends here.
  constructor({ title, note, series, format, least, most }) {
    Object.assign(this, { title, series, format, least, most, points: [], span: 120, at: null });
    this.values = series.map(() => el('strong', { class: 'now' }, '–'));
    this.svg = svg('svg', { role: 'img', tabindex: 0, class: 'plot' });
    this.reading = el('p', { class: 'reading note' }, note);
    this.note = note;
    this.element = el('figure', { class: 'chart' },
      el('figcaption', {}, el('h3', {}, title), el('span', { class: 'nows' }, series.map((name, index) => el('span', { class: `key key-${index}` }, name, ' ', this.values[index])))),
      this.svg, this.reading);
    new ResizeObserver(() => this.draw()).observe(this.svg);
    this.svg.addEventListener('pointermove', (event) => this.#read(this.#timeAt(event)));
    this.svg.addEventListener('pointerleave', () => this.#read(null));
    this.svg.addEventListener('blur', () => this.#read(null));
    this.svg.addEventListener('keydown', (event) => this.#key(event));
  }

  // `points`: [{ time, values }], times in seconds, the last one now; a value of null is a gap.
  show(points, span) {
    Object.assign(this, { points, span });
    const last = points.at(-1)?.values ?? [];
    this.values.forEach((value, index) => { value.textContent = this.#text(last[index]); });
    this.draw();
  }

  #text(value) { return value === null || value === undefined ? '–' : this.format(value); }

  draw() {
    const width = this.svg.clientWidth;
    if (width === 0) return;
    const plot = { width: width - kMargin.left - kMargin.right, height: kHeight - kMargin.top - kMargin.bottom };
    const now = this.points.at(-1)?.time ?? 0;
    const shown = this.points.filter(({ time }) => time >= now - this.span);
    const peak = Math.max(0, ...shown.flatMap(({ values }) => values.filter((value) => value !== null)));
    const end = this.most ?? niceCeiling(peak, this.least);
    const x = (time) => kMargin.left + plot.width * (1 - (now - time) / this.span);
    const y = (value) => kMargin.top + plot.height * (1 - Math.min(value, end) / end);
    Object.assign(this, { plot, now, shown });
    this.svg.setAttribute('viewBox', `0 0 ${width} ${kHeight}`);
    this.svg.setAttribute('aria-label', `${this.title}: ${this.series.map((name, index) => `${name} ${this.values[index].textContent}`).join(', ')}. Arrow keys read earlier moments.`);
    this.svg.replaceChildren(...this.#grid(width, end, x, y), ...this.series.flatMap((_, index) => this.#line(index, x, y)), ...this.#cursor(x, y));
  }

  #grid(width, end, x, y) {
    const label = (properties, text) => svg('text', { class: 'axis', ...properties }, text);
    const levels = [0, end / 2, end].flatMap((level) => [
      svg('line', { class: 'grid', x1: kMargin.left, x2: width - kMargin.right, y1: y(level), y2: y(level) }),
      label({ x: kMargin.left - 6, y: y(level) + 4, 'text-anchor': 'end' }, level === 0 ? '0' : this.format(level))]);
    const minutes = this.span / 60;
    const times = [[this.span, 'start', `${minutes} min ago`], [this.span / 2, 'middle', `${minutes / 2} min ago`], [0, 'end', 'now']];
    return [...levels, ...times.map(([before, anchor, text]) => label({ x: x(this.now - before), y: kHeight - 4, 'text-anchor': anchor }, text))];
  }

  // Each run without a gap is a path of its own; a lone point is a dot.
  #line(index, x, y) {
    const runs = [[]];
    let before = -Infinity;
    for (const { time, values } of this.shown) {
      if (values[index] === null || time - before > kLongestStep) runs.push([]);
      if (values[index] !== null) runs.at(-1).push([x(time), y(values[index])]);
      before = time;
    }
    const shape = (run) => run.map(([px, py]) => `${px.toFixed(1)} ${py.toFixed(1)}`).join('L');
    return runs.filter((run) => run.length > 0).flatMap((run) => {
      if (run.length === 1) return [svg('circle', { class: `dot series-${index}`, cx: run[0][0], cy: run[0][1], r: 2 })];
      const area = index === 0 ? [svg('path', { class: 'area', d: `M${shape(run)}L${run.at(-1)[0]} ${y(0)}L${run[0][0]} ${y(0)}Z` })] : [];
      return [...area, svg('path', { class: `line series-${index}`, d: `M${shape(run)}` })];
    });
  }

  #cursor(x, y) {
    const point = this.at === null ? null : this.shown.find(({ time }) => time === this.at);
    if (!point) return [];
    const px = x(point.time);
    const dots = point.values.flatMap((value, index) => (value === null ? [] : [svg('circle', { class: `dot series-${index}`, cx: px, cy: y(value), r: 3.5 })]));
    return [svg('line', { class: 'cursor', x1: px, x2: px, y1: kMargin.top, y2: kMargin.top + this.plot.height }), ...dots];
  }

  #timeAt(event) {
    const box = this.svg.getBoundingClientRect();
    return this.now - this.span * (1 - (event.clientX - box.left - kMargin.left) / this.plot.width);
  }

  // The moment nearest to `time`; null: none.
  #read(time) {
    const nearest = time === null ? null : this.shown.reduce((best, point) => (!best || Math.abs(point.time - time) < Math.abs(best.time - time) ? point : best), null);
    this.at = nearest?.time ?? null;
    this.reading.textContent = nearest ? `${ago(this.now - nearest.time)}: ${this.series.map((name, index) => `${name} ${this.#text(nearest.values[index])}`).join(', ')}` : this.note;
    this.draw();
  }

  #key(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    if (!step || !this.shown?.length) return;
    event.preventDefault();
    const index = this.at === null ? this.shown.length - 1 : this.shown.findIndex(({ time }) => time === this.at);
    this.#read(this.shown[Math.max(0, Math.min(this.shown.length - 1, index + step))].time);
    announce(this.reading.textContent);
  }
}
