// What clients send by themselves and people do not see: as raw HTTP, so that it stays tested whatever the clients become.
import assert from 'node:assert/strict';
import test from 'node:test';
import { goldens, model, paris, server } from './harness.mjs';

const text = 'The capital of France is Paris.';
const ok = async (target, body) => {
  const answer = await server.post(target, body);
  assert.equal(answer.status, 200, `${target}: ${JSON.stringify(answer.body).slice(0, 300)}`);
  return answer.body;
};
const refused = async (target, body, status = 400) => {
  const answer = await server.post(target, body);
  assert.equal(answer.status, status, `${target}: ${JSON.stringify(answer.body).slice(0, 300)}`);
  return answer.body.error;
};
const tools = goldens[16].tools;

test('a null asks for nothing, also where its name is unknown; what is not null is refused by name', async () => {
  const bodies = {
    '/v1/chat/completions': { model, messages: paris, max_tokens: 1 },
    '/openai/v1/chat/completions': { model, messages: paris, max_tokens: 1 },
    '/v1/completions': { model, prompt: 'Paris', max_tokens: 1 },
    '/v1/responses': { model, input: 'Hi', max_output_tokens: 1 },
    '/v1/responses/input_tokens': { model, input: 'Hi' },
    '/v1/conversations': {},
    '/v1/embeddings': { model, input: 'Hi' },
    '/v1/messages': { model, messages: paris, max_tokens: 1 },
    '/v1/messages/count_tokens': { model, messages: paris },
    '/tokenize': { content: 'Hi' },
    '/api/chat': { model, messages: paris, stream: false, options: { num_predict: 1, colour: null } },
    '/api/generate': { model, prompt: 'Hi', stream: false, options: { num_predict: 1 } },
    '/api/embed': { model, input: 'Hi' },
    '/api/show': { model },
    '/generate': { text: 'Hi', max_new_tokens: 1 },
  };
  for (const [target, body] of Object.entries(bodies)) {
    await ok(target, { ...body, diagnostics: null, user_profile_id: null, workspace_id: null });
    const error = await refused(target, { ...body, diagnostics: null, workspace_id: 'w' });
    assert.match(error.message ?? error, /there is no field 'workspace_id'/, target);
  }
});

test('OpenAI\'s paths behind /openai, as Groq\'s clients and KServe\'s have them', async () => {
  assert.equal((await ok('/openai/v1/chat/completions', { model, messages: paris, temperature: 0 })).choices[0].message.content, text);
  assert.equal((await (await server.get('/openai/v1/models')).json()).data[0].id, model);
  assert.equal((await server.get('/openai/v1/models', { 'X-Request-Id': 'a' })).headers.get('x-request-id'), 'a');
  for (const target of ['/openai/livez', '/openai/v1', '/openai', '/openaiv1/models', '/openai/openai/v1/models'])
    assert.equal((await server.get(target)).status, 404, target);
  assert.equal((await fetch(`${server.url}/openai/v1/chat/completions`, { method: 'OPTIONS' })).headers.get('allow'), 'POST, OPTIONS');
});

test('Cohere\'s newer path for rerank', async () => {
  assert.match((await refused('/v2/rerank', { model, query: 'a', documents: ['b', { text: 'c' }], top_n: 1 })).message, /cannot rerank/);
  assert.equal((await refused('/v2/rerank', { model, query: 'a', documents: ['b', { title: 'c' }] })).param, 'documents[1].text');
});

test('Mistral\'s clients', async () => {
  const sampled = async (more) => (await ok('/v1/chat/completions', { model, messages: paris, temperature: 2, max_tokens: 12, ...more })).choices[0].message.content;
  assert.equal(await sampled({ random_seed: 7 }), await sampled({ seed: 7 }));
  const { choices: [{ message }] } = await ok('/v1/chat/completions', { model, messages: paris, tools, tool_choice: 'any', safe_prompt: false, prompt_mode: null, max_tokens: 60 });
  assert.equal(message.tool_calls.length, 1);
  const begun = [...paris, { role: 'assistant', content: 'The capital of', prefix: true }];
  assert.equal((await ok('/v1/chat/completions', { model, messages: begun, temperature: 0 })).choices[0].message.content, ' France is Paris.');
  const done = [...paris, { role: 'assistant', content: text, prefix: false }, { role: 'user', content: 'And of Italy?' }];
  assert.match((await ok('/v1/chat/completions', { model, messages: done, temperature: 0 })).choices[0].message.content, /Rome/);
  const count = async (messages) => (await ok('/tokenize', { messages })).tokens.length;
  assert.equal(await count(begun), await count(paris) + (await ok('/tokenize', { content: 'The capital of' })).tokens.length);
  const { id, data } = await ok('/v1/embeddings', { model, input: ['a', 'b'], output_dtype: 'float', metadata: { a: 1 } });
  assert.match(id, /^embd-/);
  assert.equal(data.length, 2);
  assert.equal((await refused('/v1/embeddings', { model, input: 'a', output_dimension: 8 })).param, 'output_dimension');
});

test('a schema beside json_object, and a regex, as Together\'s clients and llama.cpp\'s send them', async () => {
  const schema = { type: 'object', properties: { city: { enum: ['Paris', 'Rome'] } }, required: ['city'], additionalProperties: false };
  const answer = async (format) => (await ok('/v1/chat/completions', { model, messages: paris, response_format: format })).choices[0].message.content;
  assert.match(await answer({ type: 'json_object', schema }), /^\{"city": ?"(Paris|Rome)"\}$/);
  assert.match(await answer({ type: 'regex', pattern: 'Rome|Oslo' }), /^(Rome|Oslo)$/);
});

test('items of earlier responses, referred to as the AI SDK does it', async () => {
  const ask = { role: 'user', content: [{ type: 'input_text', text: paris[0].content }] }, on = { role: 'user', content: 'And of Italy?' };
  const create = (input, more) => server.post('/v1/responses', { model, temperature: 0, input, ...more });
  const { body: first } = await create([ask]);
  const { id } = first.output[0], said = { type: 'message', role: 'assistant', content: text };
  const { body: whole } = await create([ask, said, on]);
  for (const reference of [{ type: 'item_reference', id }, { id }, { type: null, id }]) {
    const { status, body } = await create([ask, reference, on]);
    assert.equal(status, 200, JSON.stringify(body));
    assert.equal(body.output[0].content[0].text, whole.output[0].content[0].text);
    assert.equal(body.usage.input_tokens, whole.usage.input_tokens);
    const { data } = await (await server.get(`/v1/responses/${body.id}/input_items?order=asc`)).json();
    assert.deepEqual(data.map((item) => item.type), ['message', 'message', 'message']);
    assert.equal(data[1].id, id);
  }
  const counted = await ok('/v1/responses/input_tokens', { model, input: [ask, { type: 'item_reference', id }, on] });
  assert.equal(counted.input_tokens, whole.usage.input_tokens);

  const { body: call } = await create([ask], { tools: tools.map((tool) => ({ type: 'function', ...tool.function })), tool_choice: 'required', max_output_tokens: 60 });
  const made = call.output.find((item) => item.type === 'function_call');
  const result = { type: 'function_call_output', call_id: made.call_id, output: '5' };
  assert.equal((await create([ask, { type: 'item_reference', id: made.id }, result])).body.usage.input_tokens, (await create([ask, made, result])).body.usage.input_tokens);

  const { body: unkept } = await create([ask], { store: false });
  await fetch(`${server.url}/v1/responses/${first.id}`, { method: 'DELETE' });
  for (const lost of ['msg_nothing', unkept.output[0].id, id]) {
    const { status, body: { error } } = await create([ask, { type: 'item_reference', id: lost }, on]);
    assert.deepEqual([status, error.param, error.code], [404, 'input[1]', 'item_not_found']);
    assert.match(error.message, /send the item itself/);
  }
  assert.equal((await create([{ type: 'item_reference' }])).body.error.param, 'input[0].id');
  // A body that names a large item again and again would take memory without end.
  const { body: large } = await create([ask], { ignore_eos: true, max_output_tokens: 900 });
  const many = Array.from({ length: 20000 }, () => ({ id: large.output[0].id }));
  assert.match((await create(many)).body.error.message, /more than 8 MiB together/);
});

test('Anthropic\'s newest clients: deferred tools, threads, blocks of other models', async () => {
  const schema = { type: 'object', properties: {} };
  const count = async (messages, more = []) => (await ok('/v1/messages/count_tokens', { model, messages, tools: [{ name: 'search', input_schema: schema }, ...more] })).input_tokens;
  const found = (content) => [...paris, { role: 'assistant', content: [{ type: 'tool_use', id: 't', name: 'search', input: {} }] },
                              { role: 'user', content: [{ type: 'tool_result', tool_use_id: 't', content }] }];
  const late = { name: 'late', description: 'comes when it is asked for', input_schema: schema };
  const deferred = { ...late, defer_loading: true };
  assert.equal(await count(paris, [deferred]), await count(paris));
  const reference = [{ type: 'tool_reference', tool_name: 'late' }];
  assert.equal(await count(found(reference), [deferred]), await count(found('Loaded tool: late'), [late]));
  assert.match((await refused('/v1/messages', { model, max_tokens: 1, messages: found(reference), tools: [{ name: 'search', input_schema: schema }] })).message,
               /'messages\[2\]\.content\[0\]\.content\[0\]\.tool_name' must be the name of one of the 'tools'/);
  // Its tool runner reads this and goes on without.
  const error = await refused('/v1/messages?beta=true', { model, max_tokens: 1, messages: paris, thread: { type: 'create' } });
  assert.deepEqual(error.details, { error_code: 'thread_unsupported_request', unsupported: ['thread'] });
  const said = [...paris, { role: 'assistant', content: [{ type: 'redacted_thinking', data: 'x' }, { type: 'text', text: 'Paris' }] },
                { role: 'user', content: 'Sure?' }, { role: 'assistant', content: [] }, ...paris];
  await ok('/v1/messages', { model, max_tokens: 5, messages: said });
});

test('what an Ollama provider of the AI SDK puts beside the options', async () => {
  const chat = (more) => ok('/api/chat', { model, messages: paris, stream: false, think: false, ...more });
  const cut = await chat({ temperature: 0, top_p: 1, max_output_tokens: 3 });
  assert.deepEqual([cut.done_reason, cut.eval_count], ['length', 3]);
  assert.ok(text.startsWith(cut.message.content));
  for (const tool_choice of ['required', { type: 'function', name: tools[0].function.name }, { type: 'function', function: { name: tools[0].function.name } }])
    assert.equal((await chat({ tools, tool_choice, options: { num_predict: 60 } })).message.tool_calls.length, 1);
  assert.equal((await chat({ tools, tool_choice: 'none', temperature: 0 })).message.content, text);
  assert.match(await refused('/api/chat', { model, messages: paris, tool_choice: 'required' }), /'tools' is missing/);
});

test('a wrong token is told by its place', async () => {
  for (const [target, body, place] of [
    ['/v1/completions', { prompt: [1, 'a'] }, 'prompt[1]'], ['/v1/completions', { prompt: [[1], [2, -1]] }, 'prompt[1][1]'],
    ['/v1/completions', { prompt: [1, 99999] }, 'prompt[1]'], ['/v1/completions', { prompt: [[1], [2, 99999]] }, 'prompt[1][1]'],
    ['/v1/completions', { prompt: [[1, 99999]] }, 'prompt[0][1]'], ['/v1/embeddings', { input: [99999] }, 'input[0]'],
    ['/v1/embeddings', { input: ['a', 5] }, 'input[1]'], ['/detokenize', { tokens: [1, 2, 2.5] }, 'tokens[2]'],
  ]) {
    const { message, param } = await refused(target, { model, ...body });
    assert.equal(param, place);
    assert.ok(message.includes(`'${place}'`), message);
  }
});

test('an expectation that is not met', async () => {
  const post = (expect) => server.raw(`POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nExpect: ${expect}\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}`);
  assert.match(await post('a-miracle'), /^HTTP\/1\.1 417 Expectation Failed\r\n[^]*the header Expect says 'a-miracle'; only '100-continue' is known here/);
  assert.match(await post('100-Continue'), /^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 400 /);
});
