// Keys: asked for where the server wants one, kept in the tab, refused in words; and failures of the connection.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import test, { after, before } from 'node:test';
import { Server, freePort, model, paris } from '../support/server.mjs';
import { ask, lacking, textOf, withPage } from './browser.mjs';

const options = { skip: lacking };
const folder = mkdtempSync(path.join(os.tmpdir(), 'nacelle-ui-'));
const newKey = (...args) => JSON.parse(execFileSync(process.env.NACELLE, ['key', 'new', ...args, '--json']));
let server, operate, user, admin;
before(async () => {
  if (lacking) return;
  [user, admin] = [newKey('ann'), newKey('root', '--role', 'manage')];
  writeFileSync(path.join(folder, 'keys'), `${user.line}\n${admin.line}\n`);
  const port = await freePort();
  server = await Server.start('--manage-port', String(port), '--api-keys', path.join(folder, 'keys'));
  operate = `http://127.0.0.1:${port}/`;
});
after(async () => {
  await server?.stop();
  rmSync(folder, { recursive: true });
});

const refused = /Failed to load resource: the server responded with a status of 40[13]/;

test('the chat asks for a key, and keeps it in the tab', options, () => withPage(server.url, { expected: [refused] }, async (page) => {
  const dialog = page.getByRole('dialog', { name: 'API key' });
  await dialog.getByLabel('Key').fill('wrong');
  assert.match(await dialog.innerText(), /asks for an API key/);
  await page.keyboard.press('Enter');
  await dialog.getByText('is not valid').waitFor();
  await dialog.getByLabel('Key').fill(user.key);
  await dialog.getByRole('button', { name: 'Use this key' }).click();
  await page.locator('#model option').waitFor({ state: 'attached' });
  assert.match(await textOf(await ask(page, paris[0].content)), /Paris/);
  assert.equal(await page.evaluate(() => JSON.stringify(localStorage)).then((text) => text.includes(user.key)), false);
  await page.reload();
  await page.locator('#model option').waitFor({ state: 'attached' });
  assert.equal(await dialog.count(), 0);
  await page.getByRole('button', { name: 'Forget key' }).click();
  await dialog.waitFor();
  // Without a key the page stays, and says what it lacks.
  await page.keyboard.press('Escape');
  assert.match(await page.locator('#model-fault').innerText(), /no API key/);
  await page.focus('#model');
  assert.equal(await dialog.count(), 0);
  await page.fill('#prompt', 'Hello');
  await page.press('#prompt', 'Enter');
  await dialog.waitFor();
}));

test('the operator needs the role manage', options, () => withPage(operate, { expected: [refused] }, async (page) => {
  const dialog = page.getByRole('dialog', { name: 'API key' });
  // However many requests lack the key, it is asked for once.
  await dialog.waitFor();
  await page.keyboard.press('Escape');
  await page.locator('#plugins-fault', { hasText: 'no API key' }).waitFor();
  assert.equal(await dialog.count(), 0);
  await page.getByRole('button', { name: 'Enter key' }).click();
  await dialog.getByLabel('Key').fill(user.key);
  await page.keyboard.press('Enter');
  await dialog.getByText('lacks the role').waitFor();
  await dialog.getByLabel('Key').fill(admin.key);
  await page.keyboard.press('Enter');
  await page.locator('#models').getByText(model).waitFor();
  await page.locator('#plugins table').waitFor();
}));

test('a server that has gone is one line', options, async () => {
  const other = await Server.start();
  await withPage(other.url, { expected: [/net::ERR_/] }, async (page) => {
    await page.locator('#model option').waitFor({ state: 'attached' });
    await other.stop();
    const answer = await ask(page, 'Hello');
    assert.equal(await answer.locator('.error').innerText(), 'The server cannot be reached: is it running, and is the network up?');
  });
});
