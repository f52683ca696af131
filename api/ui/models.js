// The models: what is served, and loading, moving and unloading it. Each change asks first, is not waited for, and is
// followed in the server's own list.
import { announce, byId, bytes, el, field, setOptions, table } from './dom.js';
import { call, getJson } from './server.js';
import { ask } from './shell.js';

const kFollow = 700;  // milliseconds between two looks while something changes

const number = (value) => value.toLocaleString('en');
// A model's name may have several readers; the first of them has its name.
const title = (name, reader) => (reader === name ? name : `${name}, reader ${reader}`);
const drainField = () => el('input', { type: 'number', id: 'drain', min: 0, max: 3600, step: 1, value: 30 });
const drainNote = 'After that, what still runs is cut.';

export class ModelsPanel {
  constructor(onList) {
    this.onList = onList;
    this.devices = [];
    byId('load-form').addEventListener('submit', (event) => { event.preventDefault(); this.#load(); });
    this.refresh();
  }

  setDevices(names) {
    this.devices = names;
    setOptions(byId('load-device'), [['', 'As the server decides'], ...names]);
  }

  // Looks again and again while a change waits or runs.
  async refresh() {
    clearTimeout(this.timer);
    try {
      const { models, changes } = await getJson('manage/models');
      this.#show(models, changes);
      byId('models-fault').textContent = '';
      if (changes.some(({ state }) => state !== 'failed')) this.timer = setTimeout(() => this.refresh(), kFollow);
    } catch (error) {
      byId('models-fault').textContent = error.message;
    }
  }

  #show(models, changes) {
    const key = JSON.stringify([models, changes]);
    if (key === this.shown) return;  // what has the focus stays
    this.shown = key;
    const focus = document.activeElement?.dataset?.action;
    byId('models').replaceChildren(table('Models', this.#columns(), models, 'No model is loaded.'), ...changes.map((change) => this.#change(change)));
    if (focus) (document.querySelector(`[data-action="${CSS.escape(focus)}"]`) ?? byId('models-title')).focus();
    this.onList(models.map(({ name, reader }) => [reader, title(name, reader)]));
  }

  #columns() {
    return [
      { title: 'Name', cell: ({ name, reader }) => title(name, reader) },
      { title: 'State', cell: ({ state }) => el('span', { class: `state ${state === 'ready' ? 'good' : 'bad'}` }, state === 'ready' ? 'ready' : 'its device is lost') },
      { title: 'Architecture', cell: ({ architecture }) => architecture },
      { title: 'Placement', cell: ({ placement }) => placement.map(({ device, layers }) => `${device}: ${layers} layers`).join(', ') },
      { title: 'Context', align: 'number', cell: ({ context }) => number(context) },
      { title: 'Weights', align: 'number', cell: ({ weights_bytes: size }) => bytes(size) },
      { title: 'KV cache', align: 'number', cell: ({ kv_cache_bytes: size }) => bytes(size) },
      { title: 'File', class: 'path', cell: ({ path }) => path || 'built in' },
      { title: 'Change', cell: ({ name, reader }) => el('span', { class: 'row-actions' },
        [['Move', () => this.#move(reader, title(name, reader))], ['Unload', () => this.#unload(reader, title(name, reader))]].map(([verb, act]) =>
          el('button', { type: 'button', class: 'small', 'data-action': `${verb} ${reader}`, 'aria-label': `${verb} ${title(name, reader)}`, onclick: act }, verb))) },
    ];
  }

  #change({ name, state, error }) {
    const who = error && name && error.startsWith(name) ? 'The last change failed: ' : `${name || 'The built-in model'}: `;
    const text = state === 'failed' ? `${who}${error}` : `${who}${state} …`;
    return el('p', { class: state === 'failed' ? 'error' : 'busy', role: 'status' }, text);
  }

  async #send(verb, body, said) {
    try {
      await call(`manage/models/${verb}`, { body: { ...body, wait: false }, begun: true });
      announce(said);
      byId('models-fault').textContent = '';
    } catch (error) {
      byId('models-fault').textContent = error.message;
      return;
    }
    this.refresh();
  }

  async #load() {
    const value = (id) => byId(id).value.trim();
    const body = Object.fromEntries([['name', 'load-name'], ['path', 'load-path'], ['device', 'load-device']].map(([name, id]) => [name, value(id)]).filter(([, text]) => text !== ''));
    if (byId('load-join').checked) body.join = true;
    const what = body.path ?? 'the built-in demo model';
    if (!await ask({ title: 'Load a model?', text: `${what}${body.device ? ` on ${body.device}` : ''}. It takes memory beside what is loaded; nothing else changes.`, confirm: 'Load' })) return;
    await this.#send('load', body, `Loading ${what}`);
  }

  async #unload(reader, name) {
    const drain = drainField();
    const seconds = await ask({
      title: `Unload ${name}?`, text: 'No new request finds it from now on. Those that it has are finished; the model’s other readers, if it has any, stay.', confirm: 'Unload', danger: true,
      content: [field('Seconds for them to finish', drain, drainNote)], value: () => drain.valueAsNumber });
    if (seconds === null) return;
    await this.#send('unload', { reader, drain_seconds: seconds || 0 }, `Unloading ${name}`);
  }

  async #move(reader, name) {
    const drain = drainField();
    const device = el('select', { id: 'move-device' }, this.devices.map((one) => el('option', { value: one }, one)));
    const chosen = await ask({
      title: `Move ${name}?`, text: 'It is loaded a second time there, then leaves where it is. No request is lost; for a while it takes memory for both.', confirm: 'Move',
      content: [field('To device', device), field('Seconds for requests to finish', drain, drainNote)], value: () => ({ device: device.value, drain_seconds: drain.valueAsNumber || 0 }) });
    if (!chosen) return;
    await this.#send('move', { reader, ...chosen }, `Moving ${name} to ${chosen.device}`);
  }
}
