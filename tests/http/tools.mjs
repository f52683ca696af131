// Calls of tools by the openai client: the demo model writes Hermes's form.
import assert from 'node:assert/strict';
import test from 'node:test';
import { goldens, missing, model, paris, require, server } from './harness.mjs';
import { description, faults } from './schema.mjs';

const Ajv = require('ajv/dist/2020');
const { client } = server;
const golden = goldens[16];
const create = (options) => client.chat.completions.create(
  { model, messages: golden.messages, tools: golden.tools, temperature: 0, ...options });

test('a call of a tool, and its result in the next turn', async () => {
  const answer = await create();
  const [choice] = answer.choices;
  assert.equal(choice.finish_reason, 'tool_calls');
  assert.equal(choice.message.content, null);
  const [call] = choice.message.tool_calls;
  assert.match(call.id, /^call_/);
  assert.equal(call.function.name, 'get_weather');
  assert.deepEqual(JSON.parse(call.function.arguments), { city: 'Oslo' });

  const messages = [...golden.messages, choice.message,
                    { role: 'tool', tool_call_id: call.id, content: goldens[17].messages[2].content }];
  const next = await create({ messages });
  assert.equal(next.choices[0].message.content, goldens[17].text);
  assert.equal(next.choices[0].finish_reason, 'stop');
});

test('the same call, streamed', async () => {
  const calls = [];
  let finish;
  for await (const chunk of await create({ stream: true })) {
    if (!missing(description)) assert.equal(faults('CreateChatCompletionStreamResponse', chunk), undefined);
    const [choice] = chunk.choices;
    assert.ok(!choice.delta.content, 'the tags are no content');
    for (const { index, id, function: { name, arguments: piece } } of choice.delta.tool_calls ?? []) {
      calls[index] ??= { id, name, text: '', pieces: 0 };
      calls[index].text += piece;
      calls[index].pieces += 1;
    }
    finish = choice.finish_reason ?? finish;
  }
  assert.equal(finish, 'tool_calls');
  assert.equal(calls.length, 1);
  assert.equal(calls[0].name, 'get_weather');
  assert.deepEqual(JSON.parse(calls[0].text), { city: 'Oslo' });
  assert.ok(calls[0].pieces > 2, 'the arguments come in pieces');
});

test('the client\'s own helpers put a streamed call together and run it', async () => {
  const whole = await client.chat.completions.stream(
    { model, messages: golden.messages, tools: golden.tools, temperature: 0 }).finalChatCompletion();
  assert.equal(whole.choices[0].message.tool_calls[0].function.name, 'get_weather');
  const asked = [];
  const runner = client.chat.completions.runTools({
    model, messages: golden.messages, temperature: 0,
    tools: [{ type: 'function', function: {
      ...golden.tools[0].function,
      parse: JSON.parse,
      function: ({ city }) => { asked.push(city); return goldens[17].messages[2].content; },
    } }],
  });
  assert.equal(await runner.finalContent(), goldens[17].text);
  assert.deepEqual(asked, ['Oslo']);
});

test('answers with calls fit OpenAI\'s schema', { skip: missing(description) }, async () => {
  assert.equal(faults('CreateChatCompletionResponse', await create()), undefined);
});

test('tool_choice', async () => {
  const none = await create({ tool_choice: 'none' });
  assert.equal(none.choices[0].message.tool_calls, undefined);
  assert.equal(none.choices[0].finish_reason, 'stop');
  assert.equal((await create({ tool_choice: 'auto', parallel_tool_calls: false })).choices[0].finish_reason, 'tool_calls');
  for (const tool_choice of ['required', { type: 'function', function: { name: 'get_weather' } }]) {
    // Also where the model would rather talk.
    const forced = await create({ messages: paris, tool_choice });
    const [call] = forced.choices[0].message.tool_calls;
    assert.equal(forced.choices[0].finish_reason, 'tool_calls');
    assert.equal(call.function.name, 'get_weather');
    assert.equal(typeof JSON.parse(call.function.arguments).city, 'string');
    let streamed = '';
    for await (const chunk of await create({ messages: paris, tool_choice, stream: true })) {
      for (const part of chunk.choices[0].delta.tool_calls ?? []) streamed += part.function.arguments;
    }
    assert.equal(streamed, call.function.arguments);
  }
  await assert.rejects(create({ tool_choice: { type: 'function', function: { name: 'other' } } }),
                       { status: 400, param: 'tool_choice', code: 'invalid_value' });
  await assert.rejects(create({ tools: undefined, tool_choice: 'required' }), { status: 400, param: 'tools' });
});

test('strict: the arguments keep to a schema that the model does not know', async () => {
  const parameters = { $defs: { unit: { enum: ['c', 'f'] } }, type: 'object', additionalProperties: false,
                       properties: { city: { type: 'string', maxLength: 12 }, unit: { $ref: '#/$defs/unit' },
                                     days: { type: 'integer', minimum: 1, maximum: 5 } }, required: ['city', 'unit', 'days'] };
  const tools = (strict) => [{ type: 'function', function: { ...golden.tools[0].function, parameters, strict } }];
  const validate = new Ajv({ strict: false }).compile(parameters);
  const calls = (answer) => (answer.choices[0].message.tool_calls ?? []).map((call) => JSON.parse(call.function.arguments));
  const ask = (options) => create({ tools: tools(true), max_tokens: 200, ...options });
  assert.ok(!validate(calls(await create({ tools: tools(false) }))[0]), 'the model\'s own call would not do');

  const whole = await ask({});
  assert.match(calls(whole)[0].city, /^Oslo/);
  let streamed = '';
  for await (const chunk of await ask({ stream: true })) {
    for (const part of chunk.choices[0].delta.tool_calls ?? []) streamed += part.function.arguments;
  }
  assert.equal(streamed, whole.choices[0].message.tool_calls.map((call) => call.function.arguments).join(''));
  const drawn = await Promise.all(Array.from({ length: 12 }, (_, seed) => ask({ temperature: 1.5, seed })));
  const ended = [whole, ...drawn].filter((answer) => answer.choices[0].finish_reason === 'tool_calls');
  assert.ok(ended.length > 4);
  for (const answer of ended) for (const call of calls(answer)) assert.ok(validate(call), JSON.stringify(call));

  // Where nothing is called the answer is the model's own; with a format it is that or a call.
  assert.equal((await ask({ messages: paris })).choices[0].message.content, 'The capital of France is Paris.');
  const response_format = { type: 'json_schema', json_schema: { name: 'n', schema: { type: 'object', properties: { city: { enum: ['Rome', 'Paris'] } },
                                                                                  required: ['city'], additionalProperties: false } } };
  assert.ok(validate(calls(await ask({ response_format }))[0]));
  const mute = { 2046: -100 };  // the token that begins a call
  assert.match((await ask({ messages: paris, response_format, logit_bias: mute })).choices[0].message.content, /^\{"city": ?"(Rome|Paris)"\}$/);
  await assert.rejects(create({ tools: [{ type: 'function', function: { name: 'g', strict: true, parameters: { type: 'object', not: {} } } }] }),
                       { status: 400, param: 'tools', message: /the tool 'g'.*"not"/ });
});
