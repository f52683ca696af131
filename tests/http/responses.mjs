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
    [{ input: [{ type: 'item_reference', id: 'x' }] }, 'input[0].type'],
    [{ tools: [{ type: 'web_search' }] }, 'tools[0].type'],
    [{ text: { format: { type: 'xml' } } }, 'text.format.type'],
    [{ background: true }, 'background'],
  ]) {
    await assert.rejects(create(options), { status: 400, param }, JSON.stringify(options));
  }
});
