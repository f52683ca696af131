// What the server found: devices, plugins, and which kernel runs each operation of a model, how fast, and why the
// others do not.
import { byId, bytes, el, percent, seconds, setOptions, short, table } from './dom.js';
import { getJson } from './server.js';

const state = (good, text) => el('span', { class: `state ${good ? 'good' : 'bad'}` }, text);

export async function showDevices() {
  const { devices } = await getJson('manage/devices');
  byId('devices').replaceChildren(table('Devices', [
    { title: 'Name', cell: ({ name, backend }) => name || backend },
    { title: 'State', cell: ({ status }) => state(status === 'available', status) },
    { title: 'Kind', cell: ({ kind }) => kind },
    { title: 'What it is', class: 'wide', cell: ({ description, detail, reason }) => [description, detail && el('p', { class: 'note' }, detail), reason && el('p', { class: 'reason' }, reason)].filter(Boolean) },
    { title: 'Memory free', align: 'number', cell: ({ memory_free: free, memory_total: total }) => (total ? `${bytes(free)} of ${bytes(total)}` : '') },
  ], devices, 'No backend found a device.'));
  return devices.filter(({ status }) => status === 'available').map(({ name }) => name);
}

export async function showPlugins() {
  const { plugins } = await getJson('manage/plugins');
  const good = (one) => one.status === 'loaded';
  plugins.sort((a, b) => Number(good(a)) - Number(good(b)));  // what needs attention comes first
  byId('plugins').replaceChildren(table('Plugins', [
    { title: 'Name', cell: ({ name, path }) => name || path.split('/').at(-1) },
    { title: 'State', cell: ({ status }) => state(status === 'loaded', status) },
    { title: 'Kind', cell: ({ kind }) => kind },
    { title: 'Version', cell: ({ version }) => version },
    { title: 'ABI', cell: ({ abi }) => abi },
    { title: 'File', class: 'path', cell: ({ path, reason }) => [el('span', {}, path), reason ? el('p', { class: 'reason' }, reason.replace(`${path}: `, '')) : null].filter(Boolean) },
  ], plugins, 'No plugin folder holds a plugin.'));
}

// ---- Kernels ----

const kChosen = { measured: 'measured', pinned: 'pinned by you', 'static cost': 'estimated' };

function speed(kernel) {
  if (!kernel.measured_seconds) return el('span', { class: 'muted' }, 'not measured');
  const amount = kernel.bound === 'compute' ? kernel.gops && `${short(kernel.gops)} Gop/s` : kernel.gbps && `${short(kernel.gbps)} GB/s`;
  return [seconds(kernel.measured_seconds), amount].filter(Boolean).join(' · ');
}

function ceiling({ share_of_ceiling: share, bound }) {
  return share ? el('span', { title: `of what ${bound ?? 'the machine'} allows` }, percent(Math.min(share, 1))) : '';
}

// Long names break where their parts end.
const variant = ({ variant: name }) => el('code', {}, name.split(/(?<=_)/).flatMap((part) => [part, el('wbr')]));

function losers(rows) {
  return el('details', { class: 'losers' }, el('summary', {}, `${rows.length} other${rows.length === 1 ? '' : 's'}`),
    el('ul', {}, rows.map((kernel) => el('li', {}, variant(kernel), kernel.measured_seconds ? [' ', speed(kernel)] : null,
      el('p', { class: 'note' }, [kernel.state, kernel.reason].filter(Boolean).join(': '))))));
}

// Kernels of one operation, pattern and number of rows compete with each other.
function contests(kernels) {
  const groups = new Map();
  for (const kernel of kernels) {
    const key = `${kernel.op}\n${kernel.pattern}\n${kernel.rows}`;
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(kernel);
  }
  return [...groups.values()].map((all) => {
    const winner = all.find(({ state: one }) => one === 'selected') ?? all[0];
    return { winner, others: all.filter((one) => one !== winner) };
  });
}

export async function showKernels(reader) {
  const { kernels } = await getJson(`manage/kernels/${encodeURIComponent(reader)}`);
  const list = contests(kernels);
  const measured = list.filter(({ winner }) => winner.measured_seconds).length;
  byId('kernels-note').textContent = list.length === 0 ? '' : measured === list.length ? 'All were measured on this machine.'
    : `${measured} of ${list.length} were measured on this machine; the rest is ranked by an estimate. “nacelle tune” measures them.`;
  byId('kernels').replaceChildren(table('Kernels', [
    { title: 'Operation', cell: ({ winner }) => winner.op },
    { title: 'Shape', class: 'path', cell: ({ winner }) => winner.pattern },
    { title: 'Rows', cell: ({ winner }) => winner.rows },
    { title: 'Kernel', cell: ({ winner }) => variant(winner) },
    { title: 'Chosen', cell: ({ winner }) => (winner.state === 'selected' ? kChosen[winner.chosen_by] ?? winner.chosen_by : winner.state) },
    { title: 'Speed', align: 'number', cell: ({ winner }) => speed(winner) },
    { title: 'Of the ceiling', align: 'number', cell: ({ winner }) => ceiling(winner) },
    { title: 'Passed over', cell: ({ others }) => (others.length ? losers(others) : '') },
  ], list, 'This model’s backend names no kernels.'));
}

// `readers`: pairs of a reader's name and how it is shown.
export async function offerKernels(readers) {
  setOptions(byId('kernels-model'), readers);
  if (readers.length) await showKernels(byId('kernels-model').value);
  else byId('kernels').replaceChildren(el('p', { class: 'muted' }, 'No model is loaded.'));
}
