// Responses in the background: they go on without their client, who may look, cancel, or come back for the stream.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { Server, eventually, lasting, missing, model, require, server } from './harness.mjs';
import { description, faults } from './schema.mjs';
import { sampleOf } from './metrics.mjs';

const { client } = server;
const fits = (name, value) => { if (!missing(description)) assert.equal(faults(name, value), undefined); };
const ask = { model, input: 'What is the capital of France?', temperature: 0, background: true };
const endless = { ...ask, ignore_eos: true };
const over = (id, from = client) => eventually(async () => {
  const response = await from.responses.retrieve(id);
  return !['queued', 'in_progress'].includes(response.status) && response;
});
const readAll = async (stream) => { const events = []; for await (const event of stream) events.push(event); return events; };

test('a response in the background is answered at once and found when it is done', async () => {
  const queued = await client.responses.create(ask);
  fits('Response', queued);
  assert.ok(['queued', 'in_progress'].includes(queued.status), queued.status);
  assert.equal(queued.background, true);
  const done = await over(queued.id);
  fits('Response', done);
  assert.equal(done.status, 'completed');
  assert.equal(done.output_text, 'The capital of France is Paris.');
  assert.equal(done.created_at, queued.created_at);
  assert.equal((await client.responses.cancel(queued.id)).status, 'completed', 'a cancel that comes too late');
  const next = await client.responses.create({ ...ask, background: false, previous_response_id: queued.id, input: 'And of Italy?' });
  assert.ok(next.usage.input_tokens > done.usage.total_tokens);
  const cut = await over((await client.responses.create({ ...ask, max_output_tokens: 2 })).id);
  assert.equal(cut.status, 'incomplete');
  assert.equal(cut.incomplete_details.reason, 'max_output_tokens');
});

test('one under way shows what there is, and a cancel frees its place in the engine', async () => {
  const alone = await Server.start('--max-sequences', '1', ...lasting);
  try {
    const { responses } = alone.client;
    const { id } = await responses.create(endless);
    const waits = await responses.create(ask);
    const now = await eventually(async () => { const response = await responses.retrieve(id); return response.output.length > 0 && response; });
    fits('Response', now);
    assert.equal(now.status, 'in_progress');
    assert.ok(now.output[0].content[0].text.length > 0);
    assert.equal((await responses.retrieve(waits.id)).status, 'queued');
    assert.equal((await responses.inputItems.list(id)).data[0].content[0].text, ask.input);
    await assert.rejects(responses.create({ ...ask, previous_response_id: id }), { status: 400, code: 'previous_response_not_finished' });
    assert.equal(await sampleOf(alone, 'nacelle_num_requests_running'), 1);
    const cancelled = await responses.cancel(id);
    fits('Response', cancelled);
    assert.equal(cancelled.status, 'cancelled');
    assert.ok(cancelled.output[0].content[0].text.startsWith(now.output[0].content[0].text));
    assert.deepEqual(await responses.cancel(id), cancelled);
    assert.equal((await responses.retrieve(id)).status, 'cancelled');
    assert.equal((await over(waits.id, alone.client)).status, 'completed');
    await eventually(async () => await sampleOf(alone, 'nacelle_num_requests_running') === 0);
    await assert.rejects(responses.create({ ...ask, previous_response_id: id }), { status: 400, code: 'previous_response_not_usable' });

    // To delete one is to cancel it.
    const deleted = await responses.create(endless);
    await responses.delete(deleted.id);
    await assert.rejects(responses.retrieve(deleted.id), { status: 404 });
    await eventually(async () => await sampleOf(alone, 'nacelle_num_requests_running') === 0);
  } finally {
    await alone.stop();
  }
});

test('its stream may be left and taken up again', async () => {
  const stream = await client.responses.create({ ...endless, max_output_tokens: 60, stream: true });
  const seen = [];
  for await (const event of stream) {
    seen.push(event);
    if (seen.length === 8) break;  // leaves
  }
  const { id } = seen[0].response;
  assert.deepEqual(seen.slice(0, 3).map((event) => event.type), ['response.created', 'response.queued', 'response.in_progress']);
  assert.equal(seen[0].response.status, 'queued');
  const rest = await readAll(await client.responses.retrieve(id, { stream: true, starting_after: seen.at(-1).sequence_number }));
  const events = [...seen, ...rest];
  events.forEach((event, i) => {
    assert.equal(event.sequence_number, i);
    fits('ResponseStreamEvent', event);
  });
  const { response } = events.at(-1);
  assert.equal(events.at(-1).type, 'response.incomplete');
  assert.equal(response.usage.output_tokens, 60);
  assert.equal(events.filter((event) => event.type === 'response.output_text.delta').map((event) => event.delta).join(''),
               response.output[0].content[0].text);
  assert.deepEqual((await client.responses.retrieve(id)).output, response.output);

  // Once more from the beginning when it is over, and from the last event on there is nothing.
  assert.deepEqual(await readAll(await client.responses.retrieve(id, { stream: true })), events);
  assert.deepEqual(await readAll(await client.responses.retrieve(id, { stream: true, starting_after: events.length - 1 })), []);
  for (const [query, param] of [[{ stream: true, starting_after: events.length }, 'starting_after'], [{ starting_after: 1 }, 'starting_after'],
                                [{ stream: true, include_obfuscation: true }, 'include_obfuscation'], [{ colour: 1 }, 'colour']]) {
    await assert.rejects(client.responses.retrieve(id, query), { status: 400, param }, JSON.stringify(query));
  }
  const quiet = await client.responses.create(ask);
  const usual = await client.responses.create({ ...ask, background: false });
  for (const one of [quiet, usual]) await assert.rejects(client.responses.retrieve(one.id, { stream: true }), { status: 400, param: 'stream' });
  await assert.rejects(client.responses.cancel(usual.id), { status: 400, code: 'not_in_background' });
});

test('a cancel ends its streams', async () => {
  const alone = await Server.start(...lasting);
  try {
    const { responses } = alone.client;
    const events = [];
    for await (const event of await responses.create({ ...endless, stream: true })) {
      events.push(event);
      if (events.length === 6) assert.equal((await responses.cancel(events[0].response.id)).status, 'cancelled');
    }
    assert.equal(events.at(-1).type, 'response.output_text.delta');
    const { output } = await responses.retrieve(events[0].response.id);
    assert.ok(output[0].content[0].text.startsWith(events.filter(({ delta }) => delta).map(({ delta }) => delta).join('')));
  } finally {
    await alone.stop();
  }
});

test('what the engine refuses is refused at once', async () => {
  const busy = await Server.start('--max-sequences', '1', '--max-queue', '1', ...lasting);
  try {
    const { responses } = busy.client;
    const running = await responses.create(endless);
    await eventually(async () => (await responses.retrieve(running.id)).status === 'in_progress');
    const waiting = await responses.create(ask);
    for (const stream of [false, true]) await assert.rejects(responses.create({ ...ask, stream }), { status: 429 });
    assert.equal((await responses.retrieve(waiting.id)).status, 'queued');
    await responses.cancel(running.id);
    assert.equal((await over(waiting.id, busy.client)).status, 'completed');
  } finally {
    await busy.stop();
  }
});

test('SIGTERM: a response in the background is finished', async () => {
  const ending = await Server.start(...lasting);
  const events = [];
  for await (const event of await ending.client.responses.create({ ...endless, max_output_tokens: 800, stream: true })) {
    events.push(event);
    if (events.length === 8) ending.process.kill('SIGTERM');
  }
  assert.equal(events.at(-1).type, 'response.incomplete');
  assert.deepEqual(await ending.exited, { code: 0, signal: null });
});

test('SIGTERM: nobody waits, and it is finished all the same', async () => {
  const ending = await Server.start(...lasting);
  const { id } = await ending.client.responses.create({ ...endless, max_output_tokens: 800 });
  ending.process.kill('SIGTERM');
  await ending.exited;
  assert.match(ending.log, new RegExp(`background response response=${id} status=incomplete .*completion_tokens=800`));
});

test('the end of --drain-seconds fails it, and says so', async () => {
  const ending = await Server.start('--drain-seconds', '0', ...lasting);
  const events = [];
  for await (const event of await ending.client.responses.create({ ...endless, stream: true })) {
    events.push(event);
    if (events.length === 8) ending.process.kill('SIGTERM');
  }
  fits('ResponseStreamEvent', events.at(-1));
  assert.equal(events.at(-1).type, 'response.failed');
  assert.match(events.at(-1).response.error.message, /shutting down/);
  assert.equal((await ending.exited).code, 0);
});

test('no key sees what another has in the background, or its conversations', async () => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'nacelle-'));
  const key = (name) => JSON.parse(execFileSync(process.env.NACELLE, ['key', 'new', name, '--json'], { encoding: 'utf8' }));
  const [ann, bob] = [key('ann'), key('bob')];
  const file = path.join(folder, 'keys');
  writeFileSync(file, `${ann.line}\n${bob.line}\n`);
  const keyed = await Server.start('--api-keys', file, ...lasting);
  try {
    const { OpenAI } = require('openai');
    const [hers, his] = [ann, bob].map(({ key: apiKey }) => new OpenAI({ baseURL: `${keyed.url}/v1`, apiKey, maxRetries: 0 }));
    const conversation = await hers.conversations.create({ items: [{ type: 'message', role: 'user', content: 'Hello' }] });
    const { id } = await hers.responses.create({ ...endless, stream: false });
    for (const look of [(c) => c.responses.retrieve(id), (c) => c.responses.retrieve(id, { stream: true }), (c) => c.responses.cancel(id),
                        (c) => c.responses.delete(id), (c) => c.responses.inputItems.list(id),
                        (c) => c.conversations.retrieve(conversation.id), (c) => c.conversations.delete(conversation.id),
                        (c) => c.conversations.items.list(conversation.id)]) {
      await assert.rejects(look(his), { status: 404 });
    }
    await assert.rejects(his.responses.create({ ...ask, conversation: conversation.id }), { status: 400, param: 'conversation' });
    assert.equal((await hers.responses.cancel(id)).status, 'cancelled');
    await hers.conversations.retrieve(conversation.id);
  } finally {
    await keyed.stop();
    rmSync(folder, { recursive: true });
  }
});

test('those that run are never given up, and no more run than may', async () => {
  const many = await Server.start('--max-sequences', '1', '--max-queue', '1000', ...lasting);
  try {
    const ids = [];
    for (let i = 0; i < 256; ++i) ids.push((await many.client.responses.create(endless)).id);
    await assert.rejects(many.client.responses.create(ask), { status: 429, code: 'too_many_background_responses' });
    assert.ok(['queued', 'in_progress'].includes((await many.client.responses.retrieve(ids[0])).status));
    await many.client.responses.cancel(ids[255]);
    await many.client.responses.create(ask);
  } finally {
    many.process.kill('SIGKILL');
    await many.exited;
  }
});
