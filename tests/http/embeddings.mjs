// Embeddings in OpenAI's form and in Takeoff's, rerank, and KServe's metadata.
import assert from 'node:assert/strict';
import test from 'node:test';
import { goldens, missing, model, server } from './harness.mjs';
import { description, faults } from './schema.mjs';

const { client } = server;
const create = (options) => client.embeddings.create({ model, input: 'The capital of France', ...options });
const dot = (a, b) => a.reduce((sum, x, i) => sum + x * b[i], 0);

test('an embedding', async () => {
  const answer = await create({ encoding_format: 'float' });
  const [{ embedding }] = answer.data;
  assert.equal(embedding.length, 256);
  assert.ok(Math.abs(dot(embedding, embedding) - 1) < 1e-5);
  if (!missing(description)) assert.equal(faults('CreateEmbeddingResponse', answer), undefined);
  assert.ok(answer.usage.prompt_tokens > 0);
  // The client asks for base64 where nothing is said, and turns it into numbers.
  assert.deepEqual((await create()).data[0].embedding.map(Math.fround), embedding.map(Math.fround));
  const raw = (await create({ encoding_format: 'float', normalize: false })).data[0].embedding;
  assert.ok(dot(raw, raw) > 1.1);
  assert.ok(Math.abs(dot(raw, embedding) / Math.sqrt(dot(raw, raw)) - 1) < 1e-5);
});

test('many inputs, in text and in tokens, while a chat goes on', async () => {
  const inputs = ['The capital of France', 'The capital of Spain', 'Count from one to ten.'];
  const [answer, chat] = await Promise.all([
    create({ input: inputs }),
    client.chat.completions.create({ model, messages: goldens[1].messages, temperature: 0 }),
  ]);
  assert.equal(chat.choices[0].message.content, goldens[1].text);
  assert.deepEqual(answer.data.map((one) => one.index), [0, 1, 2]);
  const [france, spain, count] = answer.data.map((one) => one.embedding);
  assert.ok(dot(france, spain) > dot(france, count));
  const [alone] = (await create()).data;
  assert.ok(dot(alone.embedding, france) > 0.9999);
  const { body: { tokens } } = await server.post('/tokenize', { content: inputs[1], add_special: true });
  assert.ok(dot((await create({ input: tokens })).data[0].embedding, spain) > 0.9999);
});

test('the mean of all rows in place of the last, whatever else the engine does', async () => {
  const input = 'word and word '.repeat(60);
  const mean = async () => (await create({ input, pooling: 'mean', encoding_format: 'float' })).data[0].embedding;
  const last = (await create({ input, pooling: 'last', encoding_format: 'float' })).data[0].embedding;
  const [alone] = [await mean()];
  assert.ok(Math.abs(dot(alone, alone) - 1) < 1e-5 && dot(alone, last) < 0.999);
  const crowd = await Promise.all([mean(), mean(), create({ input }), client.chat.completions.create({ model, messages: goldens[1].messages, temperature: 0 }), mean()]);
  for (const i of [0, 1, 4]) assert.deepEqual(crowd[i], alone);
  assert.equal(crowd[3].choices[0].message.content, goldens[1].text);
});

test('wrong fields are named', async () => {
  for (const [options, param] of [
    [{ input: undefined }, 'input'], [{ input: [] }, 'input'], [{ input: [1, 99999] }, 'input[1]'],
    [{ dimensions: 64 }, 'dimensions'], [{ encoding_format: 'int8' }, 'encoding_format'], [{ pooling: 'cls' }, 'pooling'],
    [{ colour: 1 }, 'colour'], [{ input: 'word '.repeat(3000) }, 'input'],
  ]) {
    await assert.rejects(create(options), { status: 400, param }, JSON.stringify(options).slice(0, 80));
  }
});

// 256 requests may wait by default: a list is not all in the queue at once.
test('more inputs than the queue holds', async () => {
  const input = Array.from({ length: 700 }, (_, nth) => `Number ${nth}`);
  const { data } = await create({ input });
  assert.deepEqual(data.map(({ index }) => index), input.map((_, nth) => nth));
  const last = (await create({ input: input.at(-1) })).data[0].embedding;
  assert.ok(dot(data.at(-1).embedding, last) > 0.9999);
});

test('Takeoff\'s /embed', async () => {
  const { data: [{ embedding }] } = await create();
  const one = await server.post('/embed', { text: 'The capital of France' });
  assert.ok(dot(one.body.result, embedding) > 0.9999);
  const two = await server.post('/embed', { text: ['The capital of France', 'x'], consumer_group: 'primary' });
  assert.equal(two.body.result.length, 2);
  assert.ok(dot(two.body.result[0], embedding) > 0.9999);
  assert.equal((await server.post('/embed', { text: 'x', consumer_group: 'none' })).status, 404);
});

test('a decoder cannot rerank', async () => {
  const { status, body } = await server.post('/v1/rerank', { query: 'a', documents: ['b'] });
  assert.equal(status, 400);
  assert.match(body.error.message, /cannot rerank/);
  assert.equal((await server.post('/v1/rerank', { query: 'a' })).body.error.param, 'documents');
});

test('KServe\'s metadata', async () => {
  const about = async (target) => { const answer = await server.get(target); return [answer.status, await answer.json()]; };
  const [, metadata] = await about('/v2');
  assert.equal(metadata.name, 'nacelle');
  const [status, one] = await about(`/v2/models/${model}`);
  assert.equal(status, 200);
  assert.equal(one.name, model);
  assert.equal(one.platform, 'nacelle_llama');
  assert.equal(one.inputs[0].datatype, 'BYTES');
  assert.deepEqual(await about(`/v2/models/${model}/ready`), [200, { name: model, ready: true }]);
  assert.deepEqual(await about(`/v2/models/${model}/versions/1`), [200, one]);
  assert.deepEqual(await about(`/v2/models/${model}/versions/1/ready`), [200, { name: model, ready: true }]);
  assert.equal((await about(`/v2/models/${model}/versions/2`))[0], 404);
  assert.equal((await about('/v2/models/other'))[0], 404);
  assert.equal((await about('/v2/models/other/ready'))[0], 404);
});
