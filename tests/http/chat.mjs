// Chat completions by the openai client.
import assert from 'node:assert/strict';
import test from 'node:test';
import { goldens, missing, model, paris, server } from './harness.mjs';
import { description, faults } from './schema.mjs';

const { client } = server;
const create = (options) => client.chat.completions.create({ model, messages: paris, temperature: 0, ...options });

async function collect(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}
const textOf = (chunks, index = 0) => chunks.flatMap((chunk) => chunk.choices)
  .filter((choice) => choice.index === index).map((choice) => choice.delta.content ?? '').join('');

test('an answer', async () => {
  const answer = await create();
  assert.equal(answer.choices[0].message.content, 'The capital of France is Paris.');
  assert.equal(answer.choices[0].finish_reason, 'stop');
  assert.equal(answer.object, 'chat.completion');
  assert.equal(answer.model, model);
  assert.match(answer.id, /^chatcmpl-/);
  assert.ok(Math.abs(answer.created - Date.now() / 1000) < 60);
  assert.equal(answer.usage.prompt_tokens, goldens[1].prompt_ids.length);
  assert.equal(answer.usage.completion_tokens, goldens[1].answer_ids.length);
  assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens);
});

test('the same answer, streamed', async () => {
  const chunks = await collect(await create({ stream: true, stream_options: { include_usage: true } }));
  assert.equal(textOf(chunks), 'The capital of France is Paris.');
  assert.equal(chunks[0].choices[0].delta.role, 'assistant');
  assert.equal(chunks.at(-2).choices[0].finish_reason, 'stop');
  assert.deepEqual(chunks.at(-1).choices, []);
  assert.equal(chunks.at(-1).usage.completion_tokens, goldens[1].answer_ids.length);
  assert.ok(chunks.slice(0, -1).every((chunk) => chunk.usage === null));
  assert.ok(chunks.length > 5, 'pieces come one by one');
  const plain = await collect(await create({ stream: true }));
  assert.ok(plain.every((chunk) => !('usage' in chunk)));
});

// Below a gap of 0.1 between the two best logits another precision may choose another token: see models/demo/README.md.
test('the golden chats, all at once', async () => {
  const clear = goldens.filter((golden) => golden.min_gap > 0.1 && !golden.text.includes('<tool_call>'));
  const answers = await Promise.all(clear.map((golden) =>
    create({ messages: golden.messages, tools: golden.tools?.length ? golden.tools : undefined })));
  answers.forEach((answer, i) => assert.equal(answer.choices[0].message.content, clear[i].text));
});

test('answers fit OpenAI\'s schemas', { skip: missing(description) }, async () => {
  const check = (name, value) => assert.equal(faults(name, value), undefined);
  check('CreateChatCompletionResponse', await create({ logprobs: true, top_logprobs: 2, n: 2 }));
  for (const chunk of await collect(await create({ stream: true, logprobs: true, stream_options: { include_usage: true } }))) {
    check('CreateChatCompletionStreamResponse', chunk);
  }
  check('CreateCompletionResponse', await client.completions.create({ model, prompt: 'The', logprobs: 2, max_tokens: 3 }));
  check('ListModelsResponse', await (await server.get('/v1/models')).json());
  check('ErrorResponse', (await server.post('/v1/chat/completions', {})).body);
  assert.notEqual(faults('CreateChatCompletionResponse', {}), undefined, 'the validator itself');
});

test('n answers differ, and a seed repeats them', async () => {
  const options = { n: 4, seed: 7, temperature: 2, max_tokens: 20 };
  const texts = (answer) => answer.choices.map((choice) => choice.message.content);
  const first = await create(options);
  assert.deepEqual(first.choices.map((choice) => choice.index), [0, 1, 2, 3]);
  assert.ok(new Set(texts(first)).size > 1);
  assert.deepEqual(texts(await create(options)), texts(first));
  assert.notDeepEqual(texts(await create({ ...options, seed: 8 })), texts(first));
  const chunks = await collect(await create({ ...options, stream: true }));
  assert.deepEqual([0, 1, 2, 3].map((index) => textOf(chunks, index)), texts(first));
});

test('stop strings end an answer across tokens and stay out of it', async () => {
  for (const stop of ['France is', ['nowhere', ' of Fra']]) {
    const answer = await create({ stop });
    const cut = 'The capital of France is Paris.'.indexOf(Array.isArray(stop) ? stop[1] : stop);
    assert.equal(answer.choices[0].message.content, 'The capital of France is Paris.'.slice(0, cut));
    assert.equal(answer.choices[0].finish_reason, 'stop');
    assert.equal(textOf(await collect(await create({ stop, stream: true }))), answer.choices[0].message.content);
  }
});

test('length limits', async () => {
  for (const limit of [{ max_tokens: 3 }, { max_completion_tokens: 3 }]) {
    const answer = await create(limit);
    assert.equal(answer.choices[0].finish_reason, 'length');
    assert.equal(answer.usage.completion_tokens, 3);
  }
});

test('logprobs of a chat', async () => {
  const { choices } = await create({ logprobs: true, top_logprobs: 3 });
  const tokens = choices[0].logprobs.content;
  assert.equal(Buffer.from(tokens.flatMap((token) => token.bytes)).toString(), choices[0].message.content);
  for (const token of tokens) {
    assert.ok(token.logprob <= 0);
    assert.equal(token.top_logprobs.length, 3);
    assert.equal(token.top_logprobs[0].token, token.token, 'greedy takes the best');
    const sum = token.top_logprobs.reduce((total, top) => total + Math.exp(top.logprob), 0);
    assert.ok(sum <= 1.0001 && sum > 0.3);
  }
  const chunks = await collect(await create({ logprobs: true, stream: true }));
  const streamed = chunks.flatMap((chunk) => chunk.choices[0]?.logprobs?.content ?? []);
  assert.deepEqual(streamed.map((token) => token.token), tokens.map((token) => token.token));
});

test('a bias forces and forbids tokens', async () => {
  const [first] = goldens[1].answer_ids;
  const forbidden = await create({ logit_bias: { [first]: -100 }, max_tokens: 1 });
  assert.notEqual(forbidden.choices[0].message.content, 'The');
  const forced = await create({ logit_bias: { 1737: 100 }, max_tokens: 2, ignore_eos: true });
  assert.equal(forced.choices[0].message.content, ' Paris Paris');
});

test('content in parts, developer messages, aliases', async () => {
  const parts = [{ type: 'text', text: 'What is the capital' }, { type: 'text', text: ' of France?' }];
  const answer = await create({ model: 'default', messages: [{ role: 'user', content: parts }] });
  assert.equal(answer.choices[0].message.content, 'The capital of France is Paris.');
  assert.equal(answer.model, model);
  for (const alias of ['gpt-4o', 'gpt-', 'claude']) assert.equal((await create({ model: alias, max_tokens: 1 })).model, model);
  await assert.rejects(create({ model: 'claude-3' }), { status: 404, code: 'model_not_found' });
  const messages = [{ role: 'developer', content: 'Answer in one word.' }, { role: 'user', content: goldens[3].messages[1].content }];
  assert.equal((await create({ messages })).choices[0].message.content, goldens[3].text);
});
