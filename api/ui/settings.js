// The panel beside the chat: system prompt, sampling, the form of the answer, tools, the view of tokens. What is left
// empty is not sent, so the server's defaults hold. Kept in the browser from visit to visit.
import { byId, el, field, option, setOptions } from './dom.js';

const kStored = 'nacelle.settings';

// `slider`: both ends; `off`: what holds where nothing is sent.
const kSampling = [
  { name: 'temperature', label: 'Temperature', slider: [0, 2], step: 0.05, off: 1, note: '0 takes the likeliest token each time.' },
  { name: 'top_p', label: 'Top p', slider: [0, 1], step: 0.01, off: 1 },
  { name: 'min_p', label: 'Min p', slider: [0, 1], step: 0.01, off: 0 },
  { name: 'top_k', label: 'Top k', step: 1, off: 'off' },
  { name: 'max_tokens', label: 'Max tokens', step: 1, off: 'context' },
  { name: 'seed', label: 'Seed', step: 1, off: 'random' },
  { name: 'repetition_penalty', label: 'Repetition', step: 0.05, off: 1 },
  { name: 'frequency_penalty', label: 'Frequency', step: 0.1, off: 0 },
  { name: 'presence_penalty', label: 'Presence', step: 0.1, off: 0 },
];

const kSchema = `{
  "type": "object",
  "properties": {
    "city": { "type": "string" },
    "country": { "type": "string" }
  },
  "required": ["city", "country"],
  "additionalProperties": false
}`;
const kTools = `[
  {
    "type": "function",
    "function": {
      "name": "get_weather",
      "description": "Get the weather in a city.",
      "parameters": {
        "type": "object",
        "properties": { "city": { "type": "string" } },
        "required": ["city"]
      }
    }
  }
]`;

const lines = (text) => text.split('\n').map((line) => line.trimEnd()).filter((line) => line !== '');
// `text`: what stands in the editor at first, null: there is nothing to edit. `json`: it must be JSON.
const kFormats = {
  none: { label: 'Free text', text: null, fields: () => ({}) },
  json_object: { label: 'JSON, any object', text: null, fields: () => ({ response_format: { type: 'json_object' } }) },
  json_schema: { label: 'JSON Schema', text: kSchema, json: true, editor: 'Schema',
                 fields: (text) => ({ response_format: { type: 'json_schema', json_schema: { name: 'answer', strict: true, schema: JSON.parse(text) } } }) },
  regex: { label: 'Regular expression', text: '[A-Z][a-z]+', editor: 'Expression', fields: (text) => ({ regex: text.trim() }) },
  choice: { label: 'One of several', text: 'yes\nno', editor: 'Choices, one a line', fields: (text) => ({ choice: lines(text) }) },
  grammar: { label: 'Grammar (GBNF)', text: 'root ::= "yes" | "no"', editor: 'Grammar', fields: (text) => ({ grammar: text }) },
};

// A text area whose text must be JSON; a fault is said below it.
function jsonFault(area, message, isJson) {
  let fault = '';
  if (isJson) {
    try { JSON.parse(area.value); } catch (error) { fault = error.message; }
  }
  message.textContent = fault ? `Not JSON: ${fault}` : '';
  area.setAttribute('aria-invalid', Boolean(fault));
  return fault;
}

function editor(id, rows) {
  const area = el('textarea', { id, rows, class: 'mono', spellcheck: 'false', autocapitalize: 'off', 'aria-describedby': `${id}-fault` });
  const fault = el('p', { class: 'fault', id: `${id}-fault` });
  return { area, fault };
}

function tidyButton(area) {
  return el('button', { type: 'button', class: 'quiet', onclick: () => {
    try { area.value = JSON.stringify(JSON.parse(area.value), null, 2); } catch { /* the fault is shown already */ }
    area.dispatchEvent(new Event('input', { bubbles: true }));
  } }, 'Tidy');
}

const section = (title, open, ...content) => el('details', { open }, el('summary', {}, title), el('div', { class: 'fields' }, content));

function samplingField({ name, label, slider, step, off, note }) {
  const id = `sampling-${name}`;
  const number = el('input', { type: 'number', id, step: 'any', inputmode: 'decimal', placeholder: off, autocomplete: 'off' });
  if (!slider) return { name, input: number, element: field(label, number, note) };
  const range = el('input', { type: 'range', min: slider[0], max: slider[1], step, 'aria-label': `${label}, slider` });
  const follow = () => { range.value = number.value === '' ? off : number.value; };
  number.addEventListener('input', follow);
  range.addEventListener('input', () => {
    number.value = range.value;
    number.dispatchEvent(new Event('input', { bubbles: true }));
  });
  follow();
  const hint = note ? el('p', { class: 'note', id: `${id}-note` }, note) : null;
  if (hint) number.setAttribute('aria-describedby', hint.id);
  return { name, input: number, follow, element: el('div', { class: 'field slide' }, el('label', { for: id }, label), number, range, hint) };
}

export class Settings {
  constructor(panel) {
    this.system = el('textarea', { id: 'system', rows: 3, placeholder: 'None' });
    this.sampling = kSampling.map(samplingField);
    this.stop = el('textarea', { id: 'stop-at', rows: 2, class: 'mono', placeholder: 'None' });
    this.format = el('select', { id: 'format' }, Object.entries(kFormats).map(([name, { label }]) => option(name, label)));
    this.formatEditor = editor('format-text', 9);
    this.formatTexts = Object.fromEntries(Object.entries(kFormats).map(([name, { text }]) => [name, text ?? '']));
    this.useTools = el('input', { type: 'checkbox', id: 'use-tools' });
    this.toolEditor = editor('tools-text', 12);
    this.toolEditor.area.value = kTools;
    this.toolChoice = el('select', { id: 'tool-choice' });
    this.parallel = el('input', { type: 'checkbox', id: 'parallel', checked: true });
    this.useTokens = el('input', { type: 'checkbox', id: 'use-tokens' });
    this.alternatives = el('input', { type: 'number', id: 'alternatives', min: 0, max: 20, step: 1, value: 5 });
    panel.append(...this.#sections());
    this.#restore();
    // On 'input', and so before the panel's own listener: that one keeps the editor's text as the chosen form's.
    this.format.addEventListener('input', () => this.#showFormat());
    panel.addEventListener('input', () => { this.#check(); this.#store(); });
    this.#showFormat();
  }

  #sections() {
    const check = (box, text) => el('div', { class: 'check' }, box, el('label', { for: box.id }, text));
    const sliders = this.sampling.filter(({ follow }) => follow).map(({ element }) => element);
    const numbers = this.sampling.filter(({ follow }) => !follow).map(({ element }) => element);
    this.formatTidy = tidyButton(this.formatEditor.area);
    this.formatLabel = el('label', { for: 'format-text' });
    this.formatField = el('div', { class: 'field' }, el('div', { class: 'split' }, this.formatLabel, this.formatTidy),
                          this.formatEditor.area, this.formatEditor.fault);
    this.toolFields = el('div', { class: 'fields' },
      el('div', { class: 'field' }, el('div', { class: 'split' }, el('label', { for: 'tools-text' }, 'Definitions'), tidyButton(this.toolEditor.area)),
         this.toolEditor.area, this.toolEditor.fault),
      field('Choice', this.toolChoice), check(this.parallel, 'Several calls in one answer'));
    return [
      section('System prompt', true, el('div', { class: 'field' }, el('label', { for: 'system', class: 'unseen' }, 'System prompt'), this.system)),
      section('Sampling', true, sliders, el('div', { class: 'pairs' }, numbers), field('Stop at, one a line', this.stop),
              el('div', {}, el('button', { type: 'button', class: 'quiet', id: 'reset', onclick: () => this.#reset() }, 'Reset sampling'))),
      section('Form of the answer', false, field('Form', this.format), this.formatField),
      section('Tools', false, check(this.useTools, 'Offer tools to the model'), this.toolFields),
      section('Tokens', false, check(this.useTokens, 'Show tokens and their probabilities'), field('Alternatives a token', this.alternatives)),
    ];
  }

  // The fields of a request. Throws where an editor's text is not what it must be.
  fields() {
    const body = {};
    for (const { name, input } of this.sampling) {
      if (input.validity.badInput) throw new Error(`'${name}' is not a number`);
      if (input.value !== '') body[name] = Number(input.value);
    }
    const stops = lines(this.stop.value);
    if (stops.length) body.stop = stops;
    if (this.#check()) throw new Error('The settings hold text that is not JSON; it is marked there.');
    const form = kFormats[this.format.value];
    Object.assign(body, form.fields(this.formatEditor.area.value));
    if (this.useTools.checked) {
      const name = this.toolChoice.value;
      body.tools = JSON.parse(this.toolEditor.area.value);
      body.tool_choice = ['auto', 'none', 'required'].includes(name) ? name : { type: 'function', function: { name: name.slice(1) } };
      body.parallel_tool_calls = this.parallel.checked;
    }
    if (this.useTokens.checked) Object.assign(body, { logprobs: true, top_logprobs: Number(this.alternatives.value) });
    return body;
  }

  #showFormat() {
    const form = kFormats[this.format.value];
    this.formatField.hidden = form.text === null;
    this.formatLabel.textContent = form.editor ?? '';
    this.formatTidy.hidden = !form.json;
    this.formatEditor.area.value = this.formatTexts[this.format.value];
    this.#check();
  }

  // What is wrong with the editors in use; '' where nothing is.
  #check() {
    this.formatTexts[this.format.value] = this.formatEditor.area.value;
    this.toolFields.hidden = !this.useTools.checked;
    const fault = jsonFault(this.formatEditor.area, this.formatEditor.fault, kFormats[this.format.value].json);
    const toolFault = jsonFault(this.toolEditor.area, this.toolEditor.fault, this.useTools.checked);
    if (!toolFault && this.useTools.checked) {
      const tools = JSON.parse(this.toolEditor.area.value);
      const names = Array.isArray(tools) ? tools.map((tool) => tool?.function?.name).filter((name) => typeof name === 'string') : [];
      setOptions(this.toolChoice, [['auto', 'The model decides'], ['none', 'No call'], ['required', 'Some call'], ...names.map((name) => [`=${name}`, `Call ${name}`])]);
    }
    return fault || toolFault;
  }

  #reset() {
    for (const { input, follow } of this.sampling) {
      input.value = '';
      follow?.();
    }
    this.stop.value = '';
    this.#store();
  }

  #store() {
    const values = { system: this.system.value, stop: this.stop.value, format: this.format.value, formats: this.formatTexts,
                     useTools: this.useTools.checked, tools: this.toolEditor.area.value, parallel: this.parallel.checked,
                     useTokens: this.useTokens.checked, alternatives: this.alternatives.value,
                     sampling: Object.fromEntries(this.sampling.map(({ name, input }) => [name, input.value])) };
    try { localStorage.setItem(kStored, JSON.stringify(values)); } catch { /* for this page only, then */ }
  }

  #restore() {
    let kept = {};
    try { kept = JSON.parse(localStorage.getItem(kStored)) ?? {}; } catch { /* as new */ }
    const put = (control, value) => { if (typeof value === 'string') control.value = value; };
    put(this.system, kept.system);
    put(this.stop, kept.stop);
    put(this.toolEditor.area, kept.tools);
    put(this.alternatives, kept.alternatives);
    if (kept.format in kFormats) this.format.value = kept.format;
    for (const name of Object.keys(kFormats)) this.formatTexts[name] = kept.formats?.[name] || this.formatTexts[name];
    for (const { name, input, follow } of this.sampling) {
      put(input, kept.sampling?.[name]);
      follow?.();
    }
    this.useTools.checked = kept.useTools === true;
    this.parallel.checked = kept.parallel !== false;
    this.useTokens.checked = kept.useTokens === true;
    this.formatEditor.area.value = this.formatTexts[this.format.value];
    for (const box of [this.useTools, this.useTokens, this.format]) {
      if (box.checked || (box === this.format && box.value !== 'none')) byId(box.id)?.closest('details')?.setAttribute('open', '');
    }
  }
}
