// Ollama's API by its own client.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { Server, goldens, model, paris, require, server } from './harness.mjs';

const { Ollama } = require('ollama');
const ollama = new Ollama({ host: server.url });
const options = { temperature: 0 };
const text = 'The capital of France is Paris.';
const { tools, messages: weather } = goldens[16];
const chat = (more) => ollama.chat({ model, messages: paris, options, ...more });
const generate = (more) => ollama.generate({ model, prompt: paris[0].content, options, ...more });

async function collect(stream) {
  const parts = [];
  for await (const part of stream) parts.push(part);
  return parts;
}

// What the last object of an answer measured.
function checkMeasured(last, golden) {
  assert.equal(last.done, true);
  assert.equal(last.done_reason, 'stop');
  assert.equal(last.prompt_eval_count, golden.prompt_ids.length);
  assert.equal(last.eval_count, golden.answer_ids.length);
  const parts = [last.load_duration, last.prompt_eval_duration, last.eval_duration];
  for (const part of parts) assert.ok(Number.isInteger(part) && part > 0, JSON.stringify(last));
  assert.ok(parts.reduce((sum, part) => sum + part) <= last.total_duration, JSON.stringify(last));
  assert.ok(last.total_duration < 60e9);
}

test('a chat, whole and streamed', async () => {
  const whole = await chat();
  assert.deepEqual(whole.message, { role: 'assistant', content: text });
  assert.equal(whole.model, model);
  assert.ok(Math.abs(new Date(whole.created_at) - Date.now()) < 60e3);
  checkMeasured(whole, goldens[1]);
  const parts = await collect(await chat({ stream: true }));
  assert.equal(parts.map((part) => part.message.content).join(''), text);
  assert.ok(parts.length > 3);
  assert.ok(parts.slice(0, -1).every((part) => part.done === false && !('done_reason' in part)));
  checkMeasured(parts.at(-1), goldens[1]);
});

// The client says `stream: false` itself; without a word about it Ollama streams.
test('a stream is what comes unasked, a line for each object', async () => {
  const response = await fetch(`${server.url}/api/chat`, { method: 'POST', body: JSON.stringify({ model, messages: paris, options }) });
  assert.equal(response.headers.get('content-type'), 'application/x-ndjson');
  const body = await response.text();
  assert.ok(body.endsWith('}\n'));
  const lines = body.trim().split('\n').map(JSON.parse);
  assert.equal(lines.map((line) => line.message.content).join(''), text);
  assert.match(lines[0].created_at, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$/);
});

test('system messages, limits, stop strings and the beginning of the answer', async () => {
  assert.equal((await chat({ messages: goldens[3].messages })).message.content, goldens[3].text);
  const cut = await chat({ options: { ...options, num_predict: 2 } });
  assert.deepEqual([cut.message.content, cut.done_reason, cut.eval_count], ['The capital', 'length', 2]);
  assert.equal((await chat({ options: { ...options, num_predict: -2, stop: [' of France'] } })).message.content, 'The capital');
  const begun = await chat({ messages: [...paris, { role: 'assistant', content: 'The capital of France' }] });
  assert.equal(begun.message.content, ' is Paris.');
  const read = await chat({ options: { num_predict: 0 } });
  assert.deepEqual([read.message.content, read.done_reason, read.eval_count], ['', 'length', 0]);
});

test('a seed repeats an answer, and penalties look back as far as they are told', async () => {
  const story = { prompt: goldens[18].messages[0].content };
  const drawn = async (more) => (await generate({ ...story, options: { seed: 7, temperature: 1.5, top_p: 1, num_predict: 40, ...more } })).response;
  assert.equal(await drawn(), await drawn());
  assert.notEqual(await drawn(), await drawn({ seed: 8 }));
  const greedy = async (more) => (await generate({ ...story, options: { temperature: 0, num_predict: 40, ...more } })).response;
  const plain = await greedy({});
  assert.notEqual(await greedy({ repeat_penalty: 1.8 }), plain);
  assert.equal(await greedy({ repeat_penalty: 1.8, repeat_last_n: 0 }), plain);
  assert.notEqual(await greedy({ repeat_penalty: 1.8, repeat_last_n: 3 }), await greedy({ repeat_penalty: 1.8, repeat_last_n: -1 }));
});

test('a tool is called, whole and streamed, and its result read', async () => {
  const whole = await chat({ messages: weather, tools });
  const [call] = whole.message.tool_calls;
  assert.deepEqual(call.function, { index: 0, name: 'get_weather', arguments: { city: 'Oslo' } });
  assert.equal(whole.done_reason, 'stop');
  const parts = await collect(await chat({ messages: weather, tools, stream: true }));
  const calls = parts.flatMap((part) => part.message.tool_calls ?? []);
  assert.deepEqual(calls.map((one) => one.function.arguments), [{ city: 'Oslo' }]);
  const result = goldens[17].messages[2].content;
  for (const answer of [{ role: 'tool', tool_name: 'get_weather', content: result },
                        { role: 'tool', tool_call_id: call.id, content: result }, { role: 'tool', content: result }]) {
    const next = await chat({ messages: [...weather, whole.message, answer], tools });
    assert.equal(next.message.content, goldens[17].text);
  }
});

test('a format: JSON, or what a schema asks', async () => {
  const schema = { type: 'object', properties: { city: { enum: ['Rome', 'Paris'] } }, required: ['city'], additionalProperties: false };
  assert.ok(['Rome', 'Paris'].includes(JSON.parse((await chat({ format: schema })).message.content).city));
  const parts = await collect(await generate({ format: schema, stream: true }));
  assert.ok(['Rome', 'Paris'].includes(JSON.parse(parts.map((part) => part.response).join('')).city));
  assert.equal(typeof JSON.parse((await chat({ format: 'json' })).message.content), 'object');
});

test('a prompt, whole and streamed, raw, and one that goes on from tokens', async () => {
  const whole = await generate();
  assert.equal(whole.response, text);
  checkMeasured(whole, goldens[1]);
  const parts = await collect(await generate({ stream: true }));
  assert.equal(parts.map((part) => part.response).join(''), text);
  checkMeasured(parts.at(-1), goldens[1]);
  assert.deepEqual(parts.at(-1).context, whole.context);
  assert.deepEqual(whole.context.slice(0, goldens[1].prompt_ids.length), goldens[1].prompt_ids);
  const raw = await generate({ prompt: goldens[1].prompt, raw: true });
  assert.equal(raw.response, text);
  assert.ok(!('context' in raw));
  const [system, user] = goldens[3].messages;
  assert.equal((await generate({ system: system.content, prompt: user.content })).response, goldens[3].text);
  const [first, , second] = goldens[4].messages;
  const { context } = await generate({ prompt: first.content });
  const next = await generate({ prompt: second.content, context });
  assert.equal(next.response, goldens[4].text);
  assert.deepEqual(next.context.slice(0, goldens[4].prompt_ids.length), goldens[4].prompt_ids);  // as of a chat
});

test('log-probabilities of the answer', async () => {
  const whole = await chat({ logprobs: true, top_logprobs: 2 });
  assert.equal(whole.logprobs.map((token) => token.token).join(''), text);
  assert.ok(whole.logprobs.every((token) => token.logprob <= 0 && token.top_logprobs.length === 2 && token.bytes.length > 0));
  const parts = await collect(await generate({ logprobs: true, stream: true }));
  assert.equal(parts.flatMap((part) => part.logprobs ?? []).map((token) => token.token).join(''), text);
});

test('vectors', async () => {
  const { data } = await server.client.embeddings.create({ model, input: ['a', 'b'], encoding_format: 'float' });
  const two = await ollama.embed({ model, input: ['a', 'b'] });
  assert.deepEqual(two.embeddings, data.map((one) => one.embedding));
  assert.equal(two.prompt_eval_count, 2);
  assert.ok(two.total_duration >= two.load_duration && two.load_duration > 0);
  const [short] = (await ollama.embed({ model, input: 'a', dimensions: 8 })).embeddings;
  assert.equal(short.length, 8);
  assert.ok(Math.abs(Math.hypot(...short) - 1) < 1e-5);
  assert.ok(short.every((x, i) => Math.abs(x / short[0] - data[0].embedding[i] / data[0].embedding[0]) < 1e-3));
  const { embedding } = await ollama.embeddings({ model, prompt: 'a' });
  assert.ok(Math.abs(embedding[0] / Math.hypot(...embedding) - data[0].embedding[0]) < 1e-5);
  assert.ok(Math.abs(Math.hypot(...embedding) - 1) > 0.1);  // as it is
  const long = 'word '.repeat(3000);
  assert.equal((await ollama.embed({ model, input: long })).prompt_eval_count, 1023);
  await assert.rejects(ollama.embed({ model, input: long, truncate: false }), { status_code: 400 });
});

test('the models, by every name that is listed and every name that clients make', async () => {
  const { models: listed } = await ollama.list();
  assert.deepEqual(listed.map((one) => one.name), [`${model}:latest`]);
  assert.match(listed[0].digest, /^[0-9a-f]{64}$/);
  assert.deepEqual([listed[0].details.format, listed[0].details.family, listed[0].details.quantization_level], ['gguf', 'llama', 'Q8_0']);
  for (const name of [...listed.map((one) => one.name), model, 'gpt-4o', 'gpt-4o:latest']) {
    const answer = await chat({ model: name });
    assert.deepEqual([answer.message.content, answer.model], [text, name]);
  }
  const { models: running } = await ollama.ps();
  assert.equal(running[0].name, listed[0].name);
  assert.equal(running[0].context_length, 1024);
  assert.ok(new Date(running[0].expires_at) > Date.now());
  const shown = await ollama.show({ model: listed[0].name });
  assert.equal(shown.model_info[`${shown.details.family}.context_length`], 1024);
  assert.deepEqual(shown.capabilities, ['completion', 'tools']);
  assert.match(shown.parameters, /^num_ctx +1024$/);
  assert.match(shown.template, /im_start/);
  const verbose = await (await fetch(`${server.url}/api/show`, { method: 'POST', body: JSON.stringify({ model, verbose: true }) })).json();
  assert.equal(verbose.model_info['tokenizer.ggml.tokens'].length, 2048);
  assert.equal(verbose.tensors.length, 47);
  assert.match((await ollama.version()).version, /^\d+\.\d+\.\d+$/);
  assert.equal((await fetch(server.url, { method: 'HEAD' })).status, 200);
});

test('a model is there already: loading and pulling it succeed, and nobody unloads it', async () => {
  assert.deepEqual((await ollama.generate({ model, prompt: '' })).done_reason, 'load');
  assert.deepEqual((await ollama.chat({ model, messages: [] })).message, { role: 'assistant', content: '' });
  assert.deepEqual((await ollama.embed({ model, input: '' })).embeddings, []);
  assert.deepEqual(await ollama.pull({ model }), { status: 'success' });
  assert.deepEqual(await collect(await ollama.pull({ model, stream: true })), [{ status: 'success' }]);
  assert.equal((await chat({ keep_alive: 0 })).message.content, text);
  const refused = (wanted) => (error) => {
    assert.equal(error.status_code, 403);
    assert.match(error.message, wanted);
    return true;
  };
  await assert.rejects(ollama.generate({ model, prompt: '', keep_alive: 0 }), refused(/manage\/models\/unload/));
  await assert.rejects(ollama.chat({ model, messages: [], keep_alive: '0s' }), refused(/manage\/models\/unload/));
  await assert.rejects(ollama.pull({ model: 'llama3.2' }), refused(/manage\/models\/load/));
  await assert.rejects(ollama.create({ model: 'mine', from: model }), refused(/manage\/models\/load/));
  await assert.rejects(ollama.copy({ source: model, destination: 'mine' }), refused(/--alias/));
  await assert.rejects(ollama.push({ model }), refused(/registry/));
  await assert.rejects(ollama.delete({ model }), refused(/manage\/models\/unload/));
});

test('an abort ends the stream', async () => {
  const client = new Ollama({ host: server.url });
  const stream = await client.generate({ model, prompt: goldens[18].messages[0].content, stream: true });
  await assert.rejects(async () => {
    for await (const part of stream) if (!part.done) client.abort();
  }, { name: 'AbortError' });
});

test('a chat that is too long loses its first turns, unless it must not or asked for more room', async () => {
  const long = { role: 'user', content: 'word '.repeat(3000) };
  const messages = [long, { role: 'assistant', content: 'ok' }, ...paris];
  assert.equal((await chat({ messages })).message.content, text);
  await assert.rejects(chat({ messages, truncate: false }), { status_code: 400, message: /context holds 1024/ });
  await assert.rejects(chat({ messages, options: { num_ctx: 32768 } }), { status_code: 400, message: /num_ctx.*--context/ });
  await assert.rejects(chat({ messages: [long] }), { status_code: 400, message: /context holds 1024/ });
  assert.equal((await chat({ options: { ...options, num_ctx: 32768 } })).message.content, text);
});

test('failures are a line of text with a status, also before a route is reached', async () => {
  await assert.rejects(chat({ model: 'other' }), { status_code: 404, message: /model 'other' not found/ });
  await assert.rejects(chat({ options: { colour: 1 } }), { status_code: 400, message: /options\.colour/ });
  await assert.rejects(chat({ think: true }), { status_code: 400, message: /does not support thinking/ });
  await assert.rejects(chat({ messages: [{ role: 'user', content: 'x', images: ['aGk='] }] }), { status_code: 400, message: /messages\[0\]\.images/ });
  await assert.rejects(generate({ suffix: 'x' }), { status_code: 400, message: /suffix/ });
  await assert.rejects(generate({ template: '{{ .Prompt }}' }), { status_code: 400, message: /template/ });
  await assert.rejects(generate({ context: [4096] }), { status_code: 400, message: /vocabulary has ids 0 to 2047/ });
  await assert.rejects(ollama.embed({ model, input: 'a', dimensions: 257 }), { status_code: 400, message: /at most 256/ });
  await assert.rejects(ollama.show({ model: 'other' }), { status_code: 404 });
  for (const [status, request] of [[405, { method: 'PUT' }], [413, { method: 'POST', body: 'x'.repeat(1_000_001) }],
                                   [415, { method: 'POST', body: 'x', headers: { 'Content-Encoding': 'gzip' } }]]) {
    const response = await fetch(`${server.url}/api/chat`, request);
    assert.equal(response.status, status);
    assert.equal(typeof (await response.json()).error, 'string');
  }
  const tgi = await server.post('/generate', { inputs: 'x', parameters: { max_new_tokens: 3 } });
  assert.match(tgi.body.error.message, /'inputs' is TGI's/);
});

test('keys', async () => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'nacelle-'));
  const keys = path.join(folder, 'keys');
  writeFileSync(keys, `ann:infer:${createHash('sha256').update('secret-of-ann').digest('hex')}\n`, { mode: 0o600 });
  const locked = await Server.start('--api-keys', keys);
  try {
    const client = (headers) => new Ollama({ host: locked.url, headers });
    await assert.rejects(client({}).list(), { status_code: 401, message: /no API key/ });
    const known = client({ Authorization: 'Bearer secret-of-ann' });
    assert.equal((await known.chat({ model, messages: paris, options })).message.content, text);
    assert.ok((await client({}).version()).version);
  } finally {
    await locked.stop();
    rmSync(folder, { recursive: true });
  }
});
