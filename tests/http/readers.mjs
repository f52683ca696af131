// Consumer groups: several readers behind one name, made, moved and taken out while requests run; memory under a cap.
import assert from 'node:assert/strict';
import path from 'node:path';
import test from 'node:test';
import { Server, eventually, freePort, model, paris, root } from './harness.mjs';

const file = path.join(root, 'models/demo/nacelle-demo-q8_0.gguf');
const answer = 'The capital of France is Paris.';

async function withManaged(flags, use) {
  const port = await freePort();
  const managed = await Server.start('--manage-port', String(port), ...flags);
  try { await use(managed, `http://127.0.0.1:${port}`); } finally { await managed.stop(); }
}

test('a group of readers: balance, load, move and unload while traffic flows', async () =>
  withManaged(['--model', `chat=${file},device=cpu`, '--model', `chat=${file},device=reference`], async (managed, url) => {
    const ask = async (name) => (await managed.client.chat.completions.create({ model: name, messages: paris, temperature: 0, max_tokens: 20 })).choices[0].message.content;
    const call = async (method, target, body) => {
      const response = await fetch(url + target, { method, headers: { 'Content-Type': 'application/json' }, body: body && JSON.stringify(body) });
      return { status: response.status, body: await response.json() };
    };
    const groups = async () => (await call('GET', '/reader_groups')).body;
    const readers = async (group) => ((await groups())[group] ?? []).map(({ reader_id, device }) => [reader_id, device]);
    assert.deepEqual(await readers('chat'), [['chat', 'cpu'], ['chat-2', 'reference']]);
    assert.deepEqual(await readers('primary'), await readers('chat'));
    assert.deepEqual((await managed.client.models.list()).data.map(({ id }) => id), ['chat']);

    let going = true;
    const traffic = [1, 2, 3, 4].map(async () => { while (going) assert.equal(await ask('chat'), answer); });
    for (const one of traffic) one.catch(() => {});  // told at the end
    // Both take part until it is known which one is faster.
    const served = async () => {
      const text = await (await managed.get('/metrics')).text();
      const of = (labels) => Number(text.match(new RegExp(`^nacelle_requests_total\\{${labels}\\} (\\d+)`, 'm'))?.[1] ?? 0);
      return [of('model_name="chat"'), of('model_name="chat",reader="chat-2"')];
    };
    await eventually(async () => (await served()).every((count) => count >= 1));

    const made = await call('POST', '/reader', { model_name: file, consumer_group: 'primary', device: 'cpu', reader_id: 'third', max_seq_length: 256 });
    assert.equal(made.status, 201, JSON.stringify(made.body));
    assert.deepEqual([made.body.reader_id, made.body.consumer_group, made.body.max_seq_length, made.body.ready], ['third', 'chat', 256, true]);
    assert.equal((await call('POST', '/reader', { model_name: file, reader_id: 'third' })).status, 409);
    assert.deepEqual((await call('POST', '/reader', { consumer_group: 'x' })).body.error.param, 'model_name');
    assert.deepEqual((await call('POST', '/reader', { model_name: file, tensor_parallel: 2 })).body.error.param, 'tensor_parallel');

    // To another device, and to another group, where requests find it from then on.
    const moved = await call('POST', '/reader/third', { device: 'reference' });
    assert.deepEqual([moved.status, moved.body.device], [200, 'reference'], JSON.stringify(moved.body));
    assert.equal((await call('POST', '/reader/third', { consumer_group: 'other' })).body.consumer_group, 'other');
    assert.equal(await ask('other'), answer);
    assert.equal((await managed.post('/generate', { text: 'x', consumer_group: 'other', max_new_tokens: 1 })).status, 200);
    assert.equal((await call('GET', '/reader/third')).body.consumer_group, 'other');
    assert.equal((await managed.post('/manage/models/move', { model: 'chat', device: 'cpu' }, { url })).body.error.param, 'reader');
    const joined = await managed.post('/manage/models/load', { name: 'other', path: file, device: 'cpu', join: true }, { url });
    assert.equal(joined.status, 200, JSON.stringify(joined.body));
    assert.deepEqual(joined.body.models.map(({ name, reader }) => [name, reader]),
                     [['chat', 'chat'], ['chat', 'chat-2'], ['other', 'third'], ['other', 'other']]);

    // Readers leave; the group answers as long as it has one.
    assert.equal((await call('DELETE', '/reader/chat')).status, 200);
    assert.equal((await call('DELETE', '/reader/chat')).status, 404);
    assert.equal(await ask('chat'), answer);
    going = false;
    await Promise.all(traffic);
    assert.equal((await managed.post('/manage/models/unload', { model: 'other' }, { url })).body.models.length, 1);
    await assert.rejects(ask('other'), { status: 404 });
  }));

test('a reader whose device is lost leaves the others serving', async () => {
  const build = path.resolve(path.dirname(process.env.NACELLE), '..');
  const faulty = (name, value) => ['--plugin-config', `backend.faulty.${name}=${value}`];
  const server = await Server.start('--plugin-dir', path.join(build, 'faulty_plugins'), ...faulty('fault', 'device_lost'), ...faulty('steps', 4),
                                    ...faulty('target', path.join(build, 'lib/nacelle/plugins/libnacelle_backend_cpu.so')),
                                    '--model', `chat=${file},device=faulty`, '--model', `chat=${file},device=cpu`);
  try {
    const body = { model: 'chat', messages: paris, temperature: 0, max_tokens: 20 };
    const ask = async () => (await server.post('/v1/chat/completions', body)).status;
    const first = await Promise.all([1, 2, 3, 4].map(ask));  // both get some; the lost one's can be tried again
    assert.ok(first.every((status) => status === 200 || status === 503) && first.includes(503), String(first));
    for (let i = 0; i < 6; ++i) assert.equal(await ask(), 200);
    assert.equal((await server.get('/readyz')).status, 200);
  } finally {
    await server.stop();
  }
});

test('under a memory cap a load takes the place of the model that was idle longest', async () => {
  const flags = ['--context', '512', '--cache-tokens', '512', '--max-sequences', '1', '--batch-tokens', '64'];
  await withManaged([...flags, '--max-memory', '30M', '--model', `one=${file}`], async (managed, url) => {
    const load = (name, more = {}) => managed.post('/manage/models/load', { name, path: file, device: 'cpu', ...more }, { url });
    const names = async () => (await (await fetch(`${url}/manage/models`)).json()).models.map(({ name }) => name);
    const ask = (name) => managed.client.chat.completions.create({ model: name, messages: paris, temperature: 0, max_tokens: 20 });
    let count = 1;
    for (; count < 40 && (await names()).length === count; ++count) assert.equal((await load(`m${count}`)).status, 200);
    const before = await names();
    assert.ok(!before.includes('one') && before.length > 1, String(before));
    await ask(before[0]);  // now the second is the oldest
    assert.equal((await load('last')).status, 200);
    const after = await names();
    assert.ok(after.includes(before[0]) && !after.includes(before[1]) && after.includes('last'), `${before} then ${after}`);
    assert.equal((await ask('last')).choices[0].message.content, answer);
  });
  const refused = await Server.start(...flags, '--max-memory', '2M', '--model', `one=${file}`).catch((error) => error);
  assert.match(refused.message, /needs \d+ MiB: weights \d+ MiB, KV cache \d+ MiB \(512 tokens\), work space \d+ MiB; \d+ MiB of 2 MiB may still be used \(--max-memory\); use/);
});
