// Log-probabilities of prompts: what lm-evaluation-harness's local-completions asks and counts, and vLLM's form.
import assert from 'node:assert/strict';
import test from 'node:test';
import { goldens, model, paris, server } from './harness.mjs';

const complete = async (body) => {
  const { status, body: answer } = await server.post('/v1/completions', { model, temperature: 0, ...body });
  assert.equal(status, 200, JSON.stringify(answer));
  return answer;
};
// As the harness sends it.
const score = (prompt, more) => complete({ prompt, max_tokens: 1, logprobs: 1, seed: 1234, echo: true, ...more });

// Answers that another precision gives too (models/demo/README.md), without the token that ends them.
const pairs = goldens.slice(0, 4).map(({ prompt_ids, answer_ids }) => ({ context: prompt_ids, continuation: answer_ids.slice(0, -1) }));

test('scores of continuations are those of answers, and greedy ones are told', async () => {
  const { choices, usage } = await score(pairs.map(({ context, continuation }) => [...context, ...continuation]));
  assert.equal(usage.completion_tokens, pairs.length);
  for (const [i, { context, continuation }] of pairs.entries()) {
    const { token_logprobs, top_logprobs, tokens, text_offset } = choices[i].logprobs;
    const size = context.length + continuation.length;
    // The model ends here: that token is counted too, though the text lacks it.
    assert.equal(choices[i].finish_reason, 'stop');
    for (const list of [token_logprobs, top_logprobs, tokens, text_offset]) assert.equal(list.length, size + 1);
    assert.equal(token_logprobs[0], null);
    assert.equal(top_logprobs[0], null);
    // All but the first and, from the back, the generated one: parse_logprobs of the harness.
    const own = token_logprobs.slice(context.length, -1);
    assert.ok(own.every((logprob, k) => logprob === Math.max(...Object.values(top_logprobs.slice(context.length, -1)[k]))));
    const answer = await complete({ prompt: context, max_tokens: continuation.length, logprobs: 1 });
    assert.deepEqual(own, answer.choices[0].logprobs.token_logprobs);
    assert.deepEqual(tokens.slice(context.length, -1), answer.choices[0].logprobs.tokens);
  }
  const { choices: [worse] } = await score([[...pairs[1].context, ...pairs[0].continuation]]);
  const [first, best] = [worse.logprobs.token_logprobs, worse.logprobs.top_logprobs].map((list) => list[pairs[1].context.length]);
  assert.ok(first < Math.max(...Object.values(best)));
});

test('max_tokens 0 only scores: the same numbers, no answer', async () => {
  const { prompt, prompt_ids: ids } = goldens[1];
  const one = await score(prompt);
  const { choices: [choice], usage } = await score(prompt, { max_tokens: 0 });
  assert.equal(choice.text, prompt);
  assert.equal(choice.finish_reason, 'length');
  assert.deepEqual(usage.completion_tokens, 0);
  assert.equal(usage.prompt_tokens, ids.length);
  for (const [name, list] of Object.entries(choice.logprobs)) assert.deepEqual(list, one.choices[0].logprobs[name].slice(0, -1));
  assert.equal(choice.logprobs.tokens.join(''), prompt);
  assert.deepEqual(choice.logprobs.text_offset, choice.logprobs.tokens.map((_, i, all) => all.slice(0, i).join('').length));
  const { choices: [alone] } = await complete({ prompt, echo: true, max_tokens: 0 });
  assert.deepEqual([alone.text, alone.logprobs], [prompt, null]);
  const refused = await server.post('/v1/completions', { model, prompt, max_tokens: 0 });
  assert.deepEqual([refused.status, refused.body.error.param], [400, 'max_tokens']);
});

test('a stream begins with the prompt, and says all that a whole answer says', async () => {
  const prompt = goldens.slice(0, 2).map((one) => one.prompt);
  const options = { model, prompt, echo: true, logprobs: 2, max_tokens: 12, temperature: 0, n: 2 };
  const whole = await complete(options);
  const choices = whole.choices.map(() => ({ text: '', logprobs: { tokens: [], token_logprobs: [], top_logprobs: [], text_offset: [] } }));
  for await (const chunk of await server.client.completions.create({ ...options, stream: true })) {
    const { index, text, logprobs, finish_reason } = chunk.choices[0];
    choices[index].text += text;
    for (const [name, list] of Object.entries(logprobs)) choices[index].logprobs[name].push(...list);
    Object.assign(choices[index], { index, finish_reason });
  }
  assert.deepEqual(choices, whole.choices);
  assert.ok(choices.every(({ text, index }) => text.startsWith(prompt[Math.floor(index / 2)])));
});

test("vLLM's prompt_logprobs, of completions and chats", async () => {
  const { prompt, prompt_ids: ids } = goldens[1];
  const { choices: [scored] } = await score(ids, { logprobs: 5 });
  const { choices: [choice, other] } = await complete({ prompt, prompt_logprobs: 2, n: 2, max_tokens: 1, logit_bias: { [ids[1]]: -100 } });
  assert.equal(choice.logprobs, null);
  assert.deepEqual(other.prompt_logprobs, choice.prompt_logprobs);
  assert.equal(choice.prompt_logprobs.length, ids.length);
  assert.equal(choice.prompt_logprobs[0], null);
  ids.slice(1).forEach((id, i) => {
    const all = choice.prompt_logprobs[i + 1];
    const own = all[id];
    assert.equal(own.logprob, scored.logprobs.token_logprobs[i + 1]);
    assert.equal(own.decoded_token, scored.logprobs.tokens[i + 1]);
    const others = Object.values(all).filter((one) => one !== own);
    assert.deepEqual(Object.values(all).map((one) => one.rank).toSorted((a, b) => a - b), own.rank > 2 ? [1, 2, own.rank] : [1, 2]);
    assert.ok(others.every((one) => (one.rank < own.rank) === (one.logprob > own.logprob)));
  });
  const chat = await server.post('/v1/chat/completions', { model, messages: paris, prompt_logprobs: 2, max_tokens: 1 });
  assert.deepEqual(chat.body.prompt_logprobs, choice.prompt_logprobs);
  const stream = await server.post('/v1/completions', { model, prompt, prompt_logprobs: 2, stream: true });
  assert.deepEqual([stream.status, stream.body.error.param], [400, 'prompt_logprobs']);
});
