// What is wrong is said in OpenAI's shape, and the server goes on.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { missing, model, paris, server, shared } from './harness.mjs';

const { client } = server;
const create = (options) => client.chat.completions.create({ model, messages: paris, ...options });

test('the client raises errors that name the field', async () => {
  const cases = [
    [{ model: 'other' }, { status: 404, code: 'model_not_found', param: 'model' }],
    [{ temperature: 'hot' }, { status: 400, code: 'invalid_value', param: 'temperature' }],
    [{ tempreature: 1 }, { status: 400, code: 'unknown_parameter', param: 'tempreature' }],
    [{ max_token: 5 }, { status: 400, message: "400 there is no field 'max_token'; did you mean 'max_tokens'?" }],
    [{ messages: [] }, { status: 400, param: 'messages' }],
    [{ messages: undefined }, { status: 400, code: 'missing_required_parameter', param: 'messages' }],
    [{ tool_choice: 'required' }, { status: 400, code: 'missing_required_parameter', param: 'tools' }],
    [{ response_format: { type: 'xml' } }, { status: 400, param: 'response_format.type' }],
    [{ logit_bias: { 99999: 1 } }, { status: 400, param: 'logit_bias' }],
    [{ messages: [{ role: 'user', content: 'word '.repeat(3000) }] },
     { status: 400, code: 'context_length_exceeded', param: 'messages' }],
    [{ stream: true, model: 'other' }, { status: 404, code: 'model_not_found' }],
    [{ stream: true, logit_bias: { 99999: 1 } }, { status: 400, param: 'logit_bias' }],
  ];
  for (const [options, expected] of cases) {
    await assert.rejects(create(options), (error) => {
      for (const [name, value] of Object.entries(expected)) assert.equal(error[name], value, JSON.stringify(options).slice(0, 80));
      return error.type === 'invalid_request_error';
    });
  }
});

test('what is expected is said in words', async () => {
  const chat = (body) => server.post('/v1/chat/completions', body);
  for (const [body, message] of [
    ['', 'the request body is empty, expected a JSON object'],
    [{ messages: paris, user: 5 }, "'user' must be a string, not 5"],
    [{ messages: paris, seed: 1.5 }, "'seed' must be an integer of at most 64 bits, not 1.5"],
    [{ messages: paris, stop: ['a', 5] }, "'stop[1]' must be a string, not 5"],
    [{ messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'x' } }] }] },
     "'messages[0].content[0].type': \"image_url\" is not supported yet; expected text"],
    [{ messages: paris, extra_body: { top_k: 1 } }, "there is no field 'extra_body': it is an argument of the openai client; its members belong into the body itself"],
  ]) assert.equal((await chat(body)).body.error.message, message);
});

test('tokens that the vocabulary lacks', async () => {
  await assert.rejects(client.completions.create({ model, prompt: [1, 99999] }), { status: 400, param: 'prompt[1]' });
  assert.equal((await server.post('/detokenize', { tokens: [99999] })).body.error.param, 'tokens[0]');
});

test('paths and methods', async () => {
  assert.equal((await server.get('/v1/nothing')).status, 404);
  const response = await server.get('/v1/chat/completions');
  assert.equal(response.status, 405);
  assert.match(response.headers.get('allow'), /POST/);
  const { error } = await response.json();
  assert.equal(error.code, 'method_not_allowed');
  assert.equal(error.message, 'method not allowed: GET /v1/chat/completions; it takes POST, OPTIONS');
  for (const [path, meant] of [
    ['/chat/completions', '; did you mean /v1/chat/completions?'], ['/v1/v1/models', '; did you mean /v1/models?'],
    ['/v1/models/', '; did you mean /v1/models?'], ['//v1//models', '; did you mean /v1/models?'],
    ['/models/nacelle-demo', '; did you mean /v1/models/nacelle-demo?'], ['/v1/chat/completion', '; did you mean /v1/chat/completions?'],
    ['/health', '; did you mean /readyz?'], ['/healthz/', '; did you mean /readyz?'], ['/v1', ''], ['/v1/files', ''], [`/${'v1/'.repeat(1000)}`, ''],
  ]) {
    const { message } = (await (await server.get(path)).json()).error;
    assert.equal(message, `no such path: GET ${path}${meant}`);
  }
});

const suite = 'conformance/json-test-suite/test_parsing';
test('JSONTestSuite as bodies', { skip: missing(suite) }, async () => {
  const folder = path.join(shared, suite);
  await Promise.all(readdirSync(folder).map(async (name) => {
    const { status, body } = await server.post('/v1/chat/completions', readFileSync(path.join(folder, name)));
    assert.equal(status, 400, name);
    if (name.startsWith('n_')) assert.equal(body.error.code, 'invalid_json', name);
    // Well-formed, but no request; only a name that occurs twice counts as malformed.
    if (name.startsWith('y_') && !name.includes('duplicated_key')) assert.notEqual(body.error.code, 'invalid_json', name);
  }));
  assert.equal((await create({ temperature: 0 })).choices[0].message.content, 'The capital of France is Paris.');
});
