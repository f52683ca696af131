// POST /v1/messages by Anthropic's own client.
import assert from 'node:assert/strict';
import path from 'node:path';
import test from 'node:test';
import { goldens, model, paris, require, root, Server, server } from './harness.mjs';

const { Anthropic } = require('@anthropic-ai/sdk');
const client = new Anthropic({ baseURL: server.url, apiKey: 'none', maxRetries: 0 });
const create = (options) => client.messages.create({ model, max_tokens: 60, messages: paris, temperature: 0, ...options });
const text = 'The capital of France is Paris.';
const tools = goldens[16].tools.map(({ function: { name, description, parameters } }) =>
  ({ name, description, input_schema: parameters }));

test('a message', async () => {
  const message = await create();
  assert.deepEqual(message.content, [{ type: 'text', text }]);
  assert.equal(message.role, 'assistant');
  assert.equal(message.type, 'message');
  assert.equal(message.stop_reason, 'end_turn');
  assert.equal(message.stop_sequence, null);
  assert.match(message.id, /^msg_/);
  assert.equal(message.usage.input_tokens, goldens[1].prompt_ids.length);
  assert.equal(message.usage.output_tokens, goldens[1].answer_ids.length);
});

test('the events of its stream', async () => {
  const types = [];
  for await (const event of await create({ stream: true })) if (event.type !== types.at(-1)) types.push(event.type);
  assert.deepEqual(types.filter((type) => type !== 'ping'), ['message_start', 'content_block_start',
    'content_block_delta', 'content_block_stop', 'message_delta', 'message_stop']);
  const stream = client.messages.stream({ model, max_tokens: 60, messages: paris, temperature: 0 });
  const message = await stream.finalMessage();
  assert.equal(message.content[0].text, text);
  assert.equal(message.stop_reason, 'end_turn');
  assert.equal(message.usage.output_tokens, goldens[1].answer_ids.length);
});

test('system, limits, stop sequences and the beginning of the answer', async () => {
  const [system, user] = goldens[3].messages;
  assert.equal((await create({ system: system.content, messages: [user] })).content[0].text, goldens[3].text);
  assert.equal((await create({ system: [{ type: 'text', text: system.content, cache_control: { type: 'ephemeral' } }],
                               messages: [user] })).content[0].text, goldens[3].text);
  assert.equal((await create({ max_tokens: 2 })).stop_reason, 'max_tokens');
  const stopped = await create({ stop_sequences: ['nowhere', ' of France'] });
  assert.equal(stopped.content[0].text, 'The capital');
  assert.equal(stopped.stop_reason, 'stop_sequence');
  assert.equal(stopped.stop_sequence, ' of France');
  const begun = await create({ messages: [...paris, { role: 'assistant', content: 'The capital of France' }] });
  assert.equal(begun.content[0].text, ' is Paris.');
});

test('a tool is used and its result read', async () => {
  const messages = goldens[16].messages;
  const message = await create({ messages, tools });
  assert.equal(message.stop_reason, 'tool_use');
  const [use] = message.content;
  assert.equal(use.type, 'tool_use');
  assert.match(use.id, /^toolu_/);
  assert.deepEqual(use.input, { city: 'Oslo' });
  const result = { type: 'tool_result', tool_use_id: use.id, content: [{ type: 'text', text: goldens[17].messages[2].content }] };
  const next = await create({ tools, messages: [...messages, { role: 'assistant', content: message.content },
                                                { role: 'user', content: [result] }] });
  assert.equal(next.content[0].text, goldens[17].text);
  const streamed = await client.messages.stream({ model, max_tokens: 60, messages, tools, temperature: 0 }).finalMessage();
  assert.deepEqual(streamed.content[0].input, { city: 'Oslo' });
});

test('a tool that must be used', async () => {
  for (const tool_choice of [{ type: 'any' }, { type: 'tool', name: 'get_weather' }]) {
    const message = await create({ tools, tool_choice });
    assert.equal(message.stop_reason, 'tool_use');
    assert.equal(typeof message.content[0].input.city, 'string');
  }
});

// As it comes from Claude Code: system messages inside, all thinking kept, hints for caches, an effort.
test('an agent\'s request', async () => {
  const ephemeral = { cache_control: { type: 'ephemeral' } };
  const message = await client.beta.messages.create({
    model, max_tokens: 60, temperature: 0, betas: ['context-management-2025-06-27', 'mid-conversation-system-2026-04-07'],
    system: [{ type: 'text', text: 'You are a helpful assistant.', ...ephemeral }],
    messages: [{ role: 'user', content: [{ type: 'text', text: 'Hello!', ...ephemeral }] },
               { role: 'system', content: 'Answer what follows.' }, paris[0]],
    tools: [{ ...tools[0], eager_input_streaming: true, ...ephemeral }], thinking: { type: 'adaptive' },
    context_management: { edits: [{ type: 'clear_thinking_20251015', keep: 'all' }] }, output_config: { effort: 'high' },
    metadata: { user_id: 'u' },
  });
  assert.equal(message.type, 'message');
  assert.ok(message.content.length > 0);
});

test('tokens are counted as they are in a message', async () => {
  assert.equal((await client.messages.countTokens({ model, messages: paris })).input_tokens, goldens[1].prompt_ids.length);
  const { input_tokens: with_tools } = await client.messages.countTokens({ model, messages: goldens[16].messages, tools });
  assert.equal(with_tools, goldens[16].prompt_ids.length);
});

test('failures have Anthropic\'s shape', async () => {
  const cases = [
    [{ model: 'other' }, 404, 'not_found_error', /other/],
    [{ max_tokens: undefined }, 400, 'invalid_request_error', /max_tokens/],
    [{ colour: 1 }, 400, 'invalid_request_error', /colour/],
    [{ messages: [{ role: 'system', content: 'x' }] }, 400, 'invalid_request_error', /messages\[0\]\.role/],
    [{ context_management: { edits: [{ type: 'compact_20260112' }] } }, 400, 'invalid_request_error', /context_management\.edits\[0\]\.type/],
    [{ messages: [{ role: 'user', content: [{ type: 'image', source: {} }] }] }, 400, 'invalid_request_error',
     /messages\[0\]\.content\[0\]\.type/],
    [{ tools, tool_choice: { type: 'tool', name: 'other' } }, 400, 'invalid_request_error', /tool_choice/],
    [{ messages: [{ role: 'user', content: 'word '.repeat(3000) }] }, 400, 'invalid_request_error', /context/],
  ];
  for (const [options, status, type, words] of cases) {
    await assert.rejects(create(options), (error) => {
      assert.equal(error.status, status, JSON.stringify(options).slice(0, 80));
      assert.equal(error.error.type, 'error');
      assert.equal(error.error.error.type, type);
      assert.match(error.error.error.message, words);
      assert.match(error.requestID, /^req-/);
      assert.equal(error.error.request_id, error.requestID);
      return true;
    });
  }
  await assert.rejects(create({ max_token: 5 }), /there is no field 'max_token'; did you mean 'max_tokens'\?/);
});

test('a failure before the handler, and the id that a client gave', async () => {
  const headers = { 'X-Request-Id': 'abc-1' };
  for (const method of ['GET', 'POST']) {
    const response = await fetch(`${server.url}/v1/messages`, { method, headers });
    assert.deepEqual(['x-request-id', 'request-id'].map((name) => response.headers.get(name)), ['abc-1', 'abc-1'], method);
    assert.equal((await response.json()).request_id, 'abc-1', method);
  }
  const { _request_id: id } = await create();
  assert.match(id, /^req-/);
});

test('a format, and the list of models', async () => {
  const schema = { type: 'object', properties: { city: { enum: ['Rome', 'Paris'] } }, required: ['city'], additionalProperties: false };
  const answer = await create({ output_config: { format: { type: 'json_schema', schema } } });
  assert.match(answer.content[0].text, /^\{"city": ?"(Rome|Paris)"\}$/);
  const { data, has_more: more } = await client.models.list();
  assert.deepEqual([data[0].type, data[0].display_name, more], ['model', model, false]);
  assert.ok(Math.abs(Date.parse(data[0].created_at) - Date.now()) < 3600e3);
});

test('the list of models comes in pages where the client asks for them', async () => {
  const file = path.join(root, 'models/demo/nacelle-demo-q8_0.gguf');
  const other = await Server.start(...['a', 'b', 'c'].flatMap((name) => ['--model', `${name}=${file}`]));
  try {
    const { models, beta } = new Anthropic({ baseURL: other.url, apiKey: 'none', maxRetries: 0 });
    const ids = async (query) => (await models.list(query)).data.map(({ id }) => id);
    const all = await ids();
    assert.deepEqual(all.slice(0, 3), ['a', 'b', 'c']);
    assert.deepEqual(await ids({ limit: 2 }), ['a', 'b']);
    assert.deepEqual(await ids({ after_id: 'a' }), all.slice(1));
    assert.deepEqual(await ids({ before_id: 'c', limit: 1 }), ['b']);
    for (const list of [models, beta.models]) {
      const walked = [];
      for await (const { id } of list.list({ limit: 1 })) walked.push(id);
      assert.deepEqual(walked, all);
    }
    const back = [];
    for await (const { id } of models.list({ limit: 1, before_id: 'c' })) back.push(id);
    assert.deepEqual(back, ['b', 'a']);
    assert.deepEqual((await other.client.models.list()).data.map(({ id }) => id), all);
    const { error } = await (await other.get('/v1/models?limt=1')).json();
    assert.equal(error.message, "there is no field 'limt'; did you mean 'limit'?");
  } finally { await other.stop(); }
});
