// The operator's page against the real management listener: charts of a real load, models that come and go, kernels,
// devices, and a plugin that is refused.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import test, { after, before } from 'node:test';
import { Server, freePort, model, root } from '../support/server.mjs';
import { lacking, nameless, tabWalk, tooWide, weakContrasts, withPage } from './browser.mjs';

const options = { skip: lacking };
const file = path.join(root, 'models/demo/nacelle-demo-q8_0.gguf');
const folder = mkdtempSync(path.join(os.tmpdir(), 'nacelle-ui-'));
let server;
let url;
before(async () => {
  if (lacking) return;
  const port = await freePort();
  writeFileSync(path.join(folder, 'libbroken.so'), 'not a plugin');
  process.env.NACELLE_PLUGIN_PATH = folder;
  server = await Server.start('--manage-port', String(port));
  delete process.env.NACELLE_PLUGIN_PATH;
  url = `http://127.0.0.1:${port}/`;
});
after(async () => {
  await server?.stop();
  rmSync(folder, { recursive: true });
});

const operate = (pageOptions, use) => withPage(url, pageOptions, async (page) => {
  await page.locator('#models table').waitFor();
  await page.locator('#kernels table').waitFor();
  await page.locator('#plugins table').waitFor();
  await use(page);
});
const served = async () => (await (await server.get('/v1/models')).json()).data.map(({ id }) => id);
const row = (page, id, name) => page.locator(`#${id} tbody tr`, { has: page.getByRole('rowheader', { name, exact: true }) });

test('charts follow the load', options, () => operate({}, async (page) => {
  const chart = (title) => page.locator('.chart', { has: page.getByRole('heading', { name: title }) });
  const positive = async (title, index = 0) => {
    const element = await chart(title).locator('.now').nth(index).elementHandle();
    await page.waitForFunction((one) => Number.parseFloat(one.textContent) > 0, element);
  };
  // Long answers at once, and again, for as long as the charts need to see them.
  let asking = true;
  const traffic = [1, 2].map(async () => {
    while (asking) await server.post('/v1/chat/completions', { messages: [{ role: 'user', content: 'Tell me a story.' }], ignore_eos: true });
  });
  await positive('Requests');
  await positive('Tokens a second');
  await positive('Tokens a second', 1);
  await positive('KV blocks in use');
  await positive('Time to first token');
  await positive('Between two tokens', 1);
  asking = false;
  await Promise.all(traffic);
  const plot = page.getByRole('img', { name: /^Tokens a second: answers/ });
  await page.waitForFunction(() => document.querySelector('.line.series-0')?.getAttribute('d').includes('L'));
  // Pointer and arrow keys read a moment.
  await page.click('#pause');
  const reading = chart('Tokens a second').locator('.reading');
  await plot.hover();
  assert.match(await reading.innerText(), /ago: answers .*, prompts/);
  await page.mouse.move(0, 0);
  await plot.focus();
  await page.keyboard.press('ArrowLeft');
  assert.match(await reading.innerText(), /ago: answers .*, prompts/);
  await page.locator('#status', { hasText: /ago: answers/ }).waitFor();
  await page.selectOption('#chart-model', model);
  await page.selectOption('#span', '600');
  assert.ok(await page.getByText('10 min ago').first().isVisible());
}));

test('models are loaded, moved and unloaded, each with a question before', options, () => operate({}, async (page) => {
  const dialog = page.getByRole('dialog');
  await page.getByText('Load a model', { exact: true }).click();
  await page.fill('#load-path', file);
  await page.fill('#load-name', 'second');
  await page.getByRole('button', { name: 'Load …' }).click();
  assert.match(await dialog.innerText(), /Load a model\?[\s\S]*nacelle-demo-q8_0\.gguf/);
  await dialog.getByRole('button', { name: 'Load' }).click();
  await row(page, 'models', 'second').getByText('ready').waitFor();

  await page.getByRole('button', { name: 'Move second' }).click();
  await dialog.getByLabel('To device').selectOption('reference');
  await dialog.getByRole('button', { name: 'Move' }).click();
  await row(page, 'models', 'second').getByText('reference: 5 layers').waitFor();
  await page.selectOption('#kernels-model', 'second');

  // One more reader of it, which leaves alone.
  await page.check('#load-join');
  await page.selectOption('#load-device', 'cpu');
  await page.getByRole('button', { name: 'Load …' }).click();
  await dialog.getByRole('button', { name: 'Load' }).click();
  const reader = row(page, 'models', 'second, reader second-2');
  await reader.getByText('cpu: 5 layers').waitFor();
  await page.selectOption('#kernels-model', 'second-2');
  await page.getByRole('button', { name: 'Unload second, reader second-2' }).click();
  await dialog.getByRole('button', { name: 'Unload' }).click();
  await reader.waitFor({ state: 'detached' });
  await page.uncheck('#load-join');

  // Escape is a no.
  const unload = page.getByRole('button', { name: 'Unload second' });
  await unload.focus();
  await page.keyboard.press('Enter');
  await dialog.waitFor();
  await page.keyboard.press('Escape');
  assert.equal(await dialog.count(), 0);
  assert.equal((await served()).length, 2);
  assert.equal(await page.evaluate(() => document.activeElement.getAttribute('aria-label')), 'Unload second', 'the focus is where it was');
  await page.keyboard.press('Enter');
  assert.match(await dialog.innerText(), /Unload second\?/);
  await dialog.getByRole('button', { name: 'Unload' }).click();
  await row(page, 'models', 'second').waitFor({ state: 'detached' });
  assert.deepEqual(await served(), [model]);

  await page.fill('#load-path', '/no/such/file.gguf');
  await page.fill('#load-name', 'third');
  await page.getByRole('button', { name: 'Load …' }).click();
  await dialog.getByRole('button', { name: 'Load' }).click();
  await page.locator('#models .error', { hasText: /third: .*no\/such\/file/ }).waitFor();
}));

test('kernels, devices, plugins and why one is refused', options, () => operate({}, async (page) => {
  const kernels = page.locator('#kernels tbody tr');
  assert.match(await kernels.first().innerText(), /matmul[\s\S]*q8_0 N=\d+ K=\d+/);
  await page.locator('.losers summary').first().click();
  assert.ok(await page.locator('.losers li').first().isVisible());
  assert.match(await page.locator('#kernels-note').innerText(), /nacelle tune|measured on this machine/);
  assert.match(await row(page, 'devices', 'cpu').innerText(), /available[\s\S]*\d+ GiB of \d+/);
  const broken = row(page, 'plugins', 'broken');
  assert.match(await broken.innerText(), /refused[\s\S]*libbroken\.so/);
  assert.match(await broken.locator('.reason').innerText(), /not an ELF file/);
  assert.match(await row(page, 'plugins', 'llama').innerText(), /loaded/);
}));

test('by keyboard alone, with names for everything', options, () => operate({}, async (page) => {
  await page.click('#pause');
  await page.getByText('Load a model', { exact: true }).click();
  const { unreached, unsigned } = await tabWalk(page);
  assert.deepEqual([unreached, unsigned], [[], []]);
  assert.deepEqual(await nameless(page), []);
}));

for (const dark of [false, true]) {
  test(`${dark ? 'dark' : 'light'}, wide and 360 pixels narrow`, options, () => operate({ dark, width: 360, height: 700 }, async (page) => {
    await page.getByText('Load a model', { exact: true }).click();
    await page.locator('.losers summary').first().click();
    assert.ok(await page.locator('#kernels').evaluate((box) => box.scrollWidth <= box.clientWidth), 'the kernels scroll down alone');
    assert.deepEqual(await tooWide(page), []);
    assert.deepEqual(await weakContrasts(page), []);
    await page.setViewportSize({ width: 1400, height: 900 });
    assert.deepEqual(await tooWide(page), []);
  }));
}
