// The operator's page: load, models, kernels, devices, plugins.
import { byId } from './dom.js';
import { offerKernels, showDevices, showKernels, showPlugins } from './inventory.js';
import { LoadPanel } from './load.js';
import { ModelsPanel } from './models.js';
import { startShell } from './shell.js';

// What cannot be had says so where it would have stood.
async function show(id, make) {
  try {
    const result = await make();
    byId(`${id}-fault`).textContent = '';
    return result;
  } catch (error) {
    byId(`${id}-fault`).textContent = error.message;
    return undefined;
  }
}

async function start() {
  startShell('Operate', 'Chat');
  let shown = '';
  const models = new ModelsPanel((readers) => {
    if (readers.join('\n') === shown) return;
    shown = readers.join('\n');
    show('kernels', () => offerKernels(readers));
  });
  new LoadPanel(() => models.refresh());
  byId('kernels-model').addEventListener('change', () => show('kernels', () => showKernels(byId('kernels-model').value)));
  models.setDevices(await show('devices', showDevices) ?? []);
  show('plugins', showPlugins);
}

start();
