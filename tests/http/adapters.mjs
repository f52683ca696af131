// LoRA adapters: named as models in every dialect, loaded and unloaded while requests run, and seen in /metrics.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { Server, eventually, freePort, missing, root, shared } from './harness.mjs';

const stories = 'models/tinystories-656k';

// A server with adapter `a`, and how the tests speak to it.
async function start(folder) {
  execFileSync('python3', [path.join(root, 'tests/golden/make_lora.py'), path.join(shared, stories), folder]);
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const server = await Server.start('--model', `stories=${path.join(shared, stories)}`, '--lora', `a=${path.join(folder, 'a')}`,
                                    '--max-loras', '1', '--lora-embeddings', '--manage-port', String(port));
  const ask = { prompt: 'Once upon a time', max_tokens: 48, temperature: 0, ignore_eos: true };
  const complete = async (model, options = {}) =>
    (await server.client.completions.create({ model, ...ask, ...options })).choices[0].text;
  const manage = (verb, body) => server.post(`/v1/${verb}_lora_adapter`, body, { url });
  return { server, url, file: (name) => path.join(folder, name), ask, complete, manage };
}

async function areListed({ server }) {
  const { data } = await server.client.models.list();
  assert.deepEqual(data.map(({ id, parent, root }) => [id, parent, path.basename(root)]),
                   [['stories', null, 'tinystories-656k'], ['a', 'stories', 'a']]);
  assert.equal((await server.client.models.retrieve('a')).parent, 'stories');
  const tags = (await (await server.get('/api/tags')).json()).models;
  assert.deepEqual(tags.map(({ name, details }) => [name, details.parent_model]),
                   [['stories:latest', ''], ['a:latest', 'stories:latest']]);
}

async function answerInEveryDialect({ server, ask, texts: { base, a } }) {
  assert.equal((await server.client.completions.create({ model: 'a', ...ask })).model, 'a');
  const generate = async (body, count) => (await server.post('/api/generate', {
    stream: false, options: { temperature: 0, num_predict: count }, ...body })).body;
  const raw = async (model) => (await generate({ model, prompt: ask.prompt, raw: true }, 24)).response;
  assert.ok(a.startsWith(await raw('a:latest')));
  assert.ok(base.startsWith(await raw('stories')));
  // Without a chat template a prompt goes on behind the tokens as one text.
  const bare = (prompt, context) => generate({ model: 'stories', prompt, context }, 8);
  const [begin, rest] = [await bare('Once upon'), ' and'];
  const whole = await bare(`Once upon${begin.response}${rest}`);
  assert.equal((await bare(rest, begin.context)).response, whole.response);
  const chat = await server.post('/api/chat', { model: 'stories', messages: [{ role: 'user', content: 'x' }] });
  assert.match(chat.body.error, /no chat template/);
  const system = await server.post('/api/generate', { model: 'stories', prompt: 'x', system: 'y' });
  assert.match(system.body.error, /'system'/);

  const takeoff = (body) => server.post('/generate', { text: ask.prompt, max_new_tokens: 24, ...body });
  const adapted = (await takeoff({ lora_id: 'a' })).body.text;
  assert.equal(adapted, (await takeoff({ consumer_group: 'a' })).body.text);
  assert.notEqual(adapted, (await takeoff({})).body.text);
  const unknown = await takeoff({ lora_id: 'x' });
  assert.deepEqual([unknown.status, unknown.body.error.param], [404, 'lora_id']);
  const vector = async (model) =>
    (await server.client.embeddings.create({ model, input: 'a story', encoding_format: 'float' })).data[0].embedding;
  assert.notDeepEqual(await vector('a'), await vector('stories'));
}

async function comeAndGo({ server, file, ask, complete, manage, texts: { base, a } }) {
  const loaded = await manage('load', { lora_name: 'b', lora_path: file('b') });
  assert.equal(loaded.status, 200, JSON.stringify(loaded.body));
  assert.deepEqual(loaded.body.adapters.map(({ lora_name, base_model_name, rank }) => [lora_name, base_model_name, rank]),
                   [['a', 'stories', 8], ['b', 'stories', 4]]);
  const b = await complete('b');
  assert.ok(b !== base && b !== a);
  const refusals = [
    ['load', { lora_name: 'b', lora_path: file('a') }, 409, 'lora_name'],
    ['load', { lora_name: 'stories', lora_path: file('a') }, 409, 'lora_name'],
    ['load', { lora_name: 'c', lora_path: file('bad-shape') }, 400, 'lora_path'],
    ['load', { lora_name: 'c', lora_path: file('trained-head') }, 400, 'lora_path'],
    ['load', { lora_name: 'c', lora_path: '/none' }, 404, null],
    ['load', { lora_name: 'c' }, 400, 'lora_path'],
    ['load', { lora_name: 'c', lora_path: file('a'), base_model_name: 'x' }, 404, 'model'],
    ['unload', { lora_name: 'c' }, 404, 'lora_name'],
  ];
  for (const [verb, body, status, param] of refusals) {
    const answer = await manage(verb, body);
    assert.deepEqual([answer.status, answer.body.error?.param ?? null], [status, param], JSON.stringify([body, answer.body]));
  }
  const inplace = await manage('load', { lora_name: 'b', lora_path: file('a'), load_inplace: true });
  assert.equal(inplace.status, 200, JSON.stringify(inplace.body));
  assert.equal(await complete('b'), a);

  // The same adapter in llama.cpp's format; one that changes head and embedding, which shares the batch with the rest.
  assert.equal((await manage('load', { lora_name: 'b', lora_path: file('a.gguf'), load_inplace: true })).status, 200);
  assert.equal(await complete('b'), a);
  assert.equal((await manage('load', { lora_name: 'c', lora_path: file('c') })).status, 200);
  const c = await complete('c');
  assert.ok(![base, a, b].includes(c));
  assert.deepEqual(await Promise.all(['c', 'stories', 'c', 'a'].map((name) => complete(name))), [c, base, c, a]);
  assert.equal((await manage('unload', { lora_name: 'c' })).status, 200);

  // An answer under way is finished by the adapter that it began with; a new request does not find it.
  const stream = await server.client.completions.create({ model: 'b', ...ask, max_tokens: 400, stream: true });
  let finish, unloaded;
  for await (const chunk of stream) {
    unloaded ??= manage('unload', { lora_name: 'b' });
    finish = chunk.choices[0].finish_reason ?? finish;
  }
  assert.equal(finish, 'length');
  assert.equal((await unloaded).status, 200);
  await assert.rejects(complete('b'), { status: 404, code: 'model_not_found' });
  return b;
}

// Requests on the model and on `a` go on meanwhile, and their answers stay what they are.
async function besideTraffic({ complete, texts }, body) {
  let going = true;
  const traffic = [['stories', texts.base], ['a', texts.a]].map(async ([model, text]) => {
    while (going) assert.equal(await complete(model), text);
  });
  for (const one of traffic) one.catch(() => {});  // told at the end
  try {
    return await body();
  } finally {
    going = false;
    await Promise.all(traffic);
  }
}

async function areInMetrics({ server, ask }) {
  const gauge = async () => (await (await server.get('/metrics')).text()).match(/nacelle_lora_requests_info\{(.*)\}/)[1];
  const busy = server.client.completions.create({ model: 'a', ...ask, max_tokens: 400 });
  await eventually(async () => (await gauge()).includes('running_lora_adapters="a"'));
  await busy;
  const idle = 'model_name="stories",max_lora="1",running_lora_adapters="",waiting_lora_adapters=""';
  await eventually(async () => (await gauge()) === idle);
}

// A model that moves keeps its adapters, and one more reader of it has them too.
async function followTheModel({ server, url, file, complete, manage, texts: { a } }, b) {
  const moved = await server.post('/manage/models/move', { model: 'stories', device: 'reference' }, { url });
  assert.equal(moved.status, 200, JSON.stringify(moved.body));
  assert.equal(await complete('a'), a);
  const reader = { model_name: path.join(shared, stories), consumer_group: 'stories', device: 'cpu' };
  assert.equal((await server.post('/reader', reader, { url })).status, 201);
  const groups = await (await fetch(`${url}/reader_groups`)).json();
  assert.deepEqual(groups.stories.map(({ reader_id }) => reader_id), ['stories', 'stories-2']);
  for (let i = 0; i < 4; ++i) assert.equal(await complete('a'), a);
  assert.equal((await manage('load', { lora_name: 'b', lora_path: file('b') })).status, 200);
  for (let i = 0; i < 4; ++i) assert.equal(await complete('b'), b);
  assert.equal((await server.post('/manage/models/unload', { model: 'stories' }, { url })).status, 200);
  await assert.rejects(complete('a'), { status: 404 });
}

test('adapters: every dialect, load and unload while serving', { skip: missing(stories) }, async () => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'nacelle-'));
  let world;
  try {
    world = await start(folder);
    world.texts = { base: await world.complete('stories'), a: await world.complete('a') };
    assert.notEqual(world.texts.a, world.texts.base);
    await areListed(world);
    await answerInEveryDialect(world);
    const b = await besideTraffic(world, () => comeAndGo(world));
    await areInMetrics(world);
    await followTheModel(world, b);
  } finally {
    await world?.server.stop();
    rmSync(folder, { recursive: true });
  }
});
