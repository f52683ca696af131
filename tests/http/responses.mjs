// POST /v1/responses by the openai client.
import assert from 'node:assert/strict';
import test from 'node:test';
import { goldens, missing, model, server } from './harness.mjs';
import { description, faults } from './schema.mjs';

const { client } = server;
const paris = 'The capital of France is Paris.';
const create = (options) => client.responses.create(
  { model, input: 'What is the capital of France?', temperature: 0, ...options });
const fits = (name, value) => { if (!missing(description)) assert.equal(faults(name, value), undefined); };
// Responses API tools are flat.
const tools = goldens[16].tools.map((tool) => ({ type: 'function', strict: false, ...tool.function }));

test('a response', async () => {
  const response = await create({ metadata: { a: 'b' } });
  fits('Response', response);
  assert.equal(response.output_text, paris);
  assert.equal(response.status, 'completed');
  assert.match(response.id, /^resp_/);
  assert.deepEqual(response.metadata, { a: 'b' });
  assert.equal(response.usage.input_tokens, goldens[1].prompt_ids.length);
  assert.equal(response.usage.output_tokens, goldens[1].answer_ids.length);
});

test('its events in order', async () => {
  const events = [];
  for await (const event of await create({ stream: true })) events.push(event);
  events.forEach((event, i) => {
    assert.equal(event.sequence_number, i);
    fits('ResponseStreamEvent', event);
  });
  const types = events.map((event) => event.type).filter((type, i, all) => type !== all[i - 1]);
  assert.deepEqual(types, ['response.created', 'response.in_progress', 'response.output_item.added',
    'response.content_part.added', 'response.output_text.delta', 'response.output_text.done',
    'response.content_part.done', 'response.output_item.done', 'response.completed']);
  const deltas = events.filter((event) => event.type === 'response.output_text.delta');
  assert.equal(deltas.map((event) => event.delta).join(''), paris);
  assert.ok(deltas.length > 3);
  const final = await client.responses.stream({ model, input: 'What is the capital of France?', temperature: 0 }).finalResponse();
  assert.equal(final.output[0].content[0].text, paris);
});

test('an effort asks nothing of a model that does not reason, and its answer says so', async () => {
  assert.deepEqual((await create({ reasoning: { effort: 'high' } })).reasoning, { effort: null, summary: null });
});

test('instructions, items and a limit', async () => {
  const [system, user] = goldens[3].messages;
  assert.equal((await create({ instructions: system.content, input: user.content })).output_text, goldens[3].text);
  assert.equal((await create({ input: goldens[3].messages })).output_text, goldens[3].text);
  assert.equal((await create({ input: goldens[13].messages })).output_text, goldens[13].text);
  const cut = await create({ max_output_tokens: 3 });
  assert.equal(cut.status, 'incomplete');
  assert.equal(cut.incomplete_details.reason, 'max_output_tokens');
  fits('Response', cut);
});

test('a call of a function and its result', async () => {
  const input = goldens[16].messages;
  const response = await create({ input, tools });
  fits('Response', response);
  const [call] = response.output;
  assert.equal(call.type, 'function_call');
  assert.deepEqual(JSON.parse(call.arguments), { city: 'Oslo' });
  const result = { type: 'function_call_output', call_id: call.call_id, output: goldens[17].messages[2].content };
  assert.equal((await create({ input: [...input, call, result], tools })).output_text, goldens[17].text);
  assert.equal((await create({ input: [result], previous_response_id: response.id, tools })).output_text, goldens[17].text);
  const types = new Set();
  for await (const event of await create({ input, tools, stream: true })) {
    fits('ResponseStreamEvent', event);
    types.add(event.type);
  }
  assert.ok(types.has('response.function_call_arguments.delta'));
  assert.ok(types.has('response.function_call_arguments.done'));
});

test('a format', async () => {
  const schema = { type: 'object', properties: { city: { enum: ['Paris', 'Rome'] } }, required: ['city'], additionalProperties: false };
  const response = await create({ text: { format: { type: 'json_schema', name: 'city', schema, strict: true } } });
  fits('Response', response);
  assert.ok(['Paris', 'Rome'].includes(JSON.parse(response.output_text).city));
});

test('log-probabilities, as a chat has them', async () => {
  const ask = { model, messages: [{ role: 'user', content: 'What is the capital of France?' }], temperature: 0, logprobs: true, top_logprobs: 2 };
  const expected = (await client.chat.completions.create(ask)).choices[0].logprobs.content;
  const include = ['message.output_text.logprobs'];
  const response = await create({ include, top_logprobs: 2 });
  fits('Response', response);
  assert.equal(response.top_logprobs, 2);
  assert.deepEqual(response.output[0].content[0].logprobs, expected);
  const plain = (await create({ include })).output[0].content[0].logprobs;
  assert.deepEqual(plain.map(({ token, top_logprobs }) => [token, top_logprobs.length]), expected.map(({ token }) => [token, 0]));
  const streamed = [];
  for await (const event of await create({ include, top_logprobs: 2, stream: true })) {
    fits('ResponseStreamEvent', event);
    if (event.type === 'response.output_text.delta') streamed.push(...event.logprobs);
    if (event.type === 'response.output_text.done') assert.deepEqual(event.logprobs, expected);
  }
  assert.deepEqual(streamed, expected);
  assert.deepEqual((await create()).output[0].content[0].logprobs, []);
});

test('what has no effect here is repeated', async () => {
  const given = { max_tool_calls: 2, prompt_cache_key: 'k', safety_identifier: 's', user: 'u', truncation: 'auto', metadata: { a: 'b' } };
  const response = await create({ ...given, include: ['web_search_call.action.sources'], max_output_tokens: 1 });
  fits('Response', response);
  for (const [name, value] of Object.entries(given)) assert.deepEqual(response[name], value, name);
  await assert.rejects(create({ metadata: { a: 1 } }), { status: 400, param: 'metadata.a' });
});

test('truncation: the first turns of what is too long are left out, instructions are not', async () => {
  const { data: [{ max_model_len: context }] } = await client.models.list();
  const filler = { role: 'user', content: 'word '.repeat(Math.ceil(context * 0.9)) };
  const [system, user] = goldens[3].messages;
  const input = [system, filler, { role: 'assistant', content: 'Yes.' }, filler, { role: 'assistant', content: 'Yes.' }, user];
  await assert.rejects(create({ input }), { status: 400, code: 'context_length_exceeded' });
  const response = await create({ input, truncation: 'auto', max_output_tokens: 100 });
  assert.equal(response.output_text, goldens[3].text);
  assert.equal(response.usage.input_tokens, goldens[3].prompt_ids.length);
  await assert.rejects(create({ input: [filler, { role: 'assistant', content: 'Yes.' }, { ...filler, content: filler.content.repeat(2) }], truncation: 'auto' }),
                       { status: 400, code: 'context_length_exceeded' });
});

test('input tokens are counted as they are used', async () => {
  const count = (body) => client.responses.inputTokens.count({ model, ...body });
  for (const body of [{ input: 'What is the capital of France?', instructions: 'Be brief.' }, { input: goldens[16].messages, tools }]) {
    const counted = await count(body);
    fits('TokenCountsResource', counted);
    assert.equal(counted.input_tokens, (await create({ ...body, max_output_tokens: 1 })).usage.input_tokens);
  }
  const first = await create();
  const more = { previous_response_id: first.id, input: 'And of Italy?' };
  assert.equal((await count(more)).input_tokens, (await create({ ...more, max_output_tokens: 1 })).usage.input_tokens);
  await assert.rejects(count({ input: 'x', stream: true }), { status: 400, param: 'stream' });
  await assert.rejects(count({}), { status: 400, param: 'input' });
  const compact = await server.post('/v1/responses/compact', { model, input: 'x' });
  assert.equal(compact.status, 400);
  assert.match(compact.body.error.message, /compact is not supported/);
});

test('input items are listed in pages', async () => {
  const input = [...goldens[16].messages,
                 { type: 'function_call', call_id: 'c', name: 'f', arguments: '{}' },
                 { type: 'function_call_output', call_id: 'c', output: 'out' }, { role: 'user', content: 'x' }];
  const response = await create({ input, tools, max_output_tokens: 1 });
  const list = await (await server.get(`/v1/responses/${response.id}/input_items`)).json();
  fits('ResponseItemList', list);
  assert.equal(list.data.length, input.length);
  const items = [];
  for await (const item of client.responses.inputItems.list(response.id, { limit: 2, order: 'asc', include: ['message.output_text.logprobs'] })) items.push(item);
  assert.deepEqual(items, list.data.toReversed());
  assert.deepEqual(items.map((item) => item.type), [...goldens[16].messages.map(() => 'message'), 'function_call', 'function_call_output', 'message']);
  assert.equal(new Set(items.map((item) => item.id)).size, items.length);
  assert.equal((await create({ input: items, tools, max_output_tokens: 1 })).usage.input_tokens, response.usage.input_tokens);
  for (const query of ['limit=0', 'limit=101', 'order=up', 'after=none', 'before=x', 'include=everything']) {
    const answer = await server.get(`/v1/responses/${response.id}/input_items?${query}`);
    assert.equal(answer.status, 400, query);
    assert.equal((await answer.json()).error.param.split('[')[0], query.split('=')[0]);
  }
  await assert.rejects(client.responses.inputItems.list('resp_none'), { status: 404 });
});

test('responses are kept, found and deleted', async () => {
  const [first, , second] = goldens[4].messages;
  const one = await create({ input: first.content });
  const two = await create({ input: second.content, previous_response_id: one.id });
  assert.equal(two.output_text, goldens[4].text);
  assert.equal(two.previous_response_id, one.id);
  assert.equal((await client.responses.retrieve(one.id)).output_text, one.output_text);
  await client.responses.delete(one.id);
  await assert.rejects(client.responses.retrieve(one.id), { status: 404 });
  await assert.rejects(create({ previous_response_id: one.id }),
                       { status: 400, code: 'previous_response_not_found', param: 'previous_response_id' });
  const unkept = await create({ store: false });
  await assert.rejects(client.responses.retrieve(unkept.id), { status: 404 });
});

test('wrong fields are named', async () => {
  for (const [options, param] of [
    [{ input: undefined }, 'input'], [{ input: [] }, 'input'], [{ colour: 1 }, 'colour'],
    [{ input: [{ role: 'robot', content: 'x' }] }, 'input[0].role'],
    [{ input: [{ role: 'user', content: [{ type: 'input_image', image_url: 'u' }] }] }, 'input[0].content[0].type'],
    [{ input: [{ type: 'item_reference' }] }, 'input[0].id'], [{ input: [{ type: 'computer_call', id: 'x' }] }, 'input[0].type'],
    [{ tools: [{ type: 'web_search' }] }, 'tools[0].type'],
    [{ text: { format: { type: 'xml' } } }, 'text.format.type'],
    [{ background: true, store: false }, 'store'], [{ text: { verbosity: 'low' } }, 'text.verbosity'],
    [{ conversation: 'conv_none' }, 'conversation'],
    [{ conversation: 'conv_none', previous_response_id: 'resp_none' }, 'previous_response_id'],
    [{ context_management: [{ type: 'compaction' }] }, 'context_management'],
  ]) {
    await assert.rejects(create(options), { status: 400, param }, JSON.stringify(options));
  }
});
