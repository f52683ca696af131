// Titan Takeoff's routes.
import assert from 'node:assert/strict';
import test from 'node:test';
import { goldens, model, server } from './harness.mjs';

const golden = goldens[1];

// The data of server-sent events, by id.
async function stream(body) {
  const response = await fetch(`${server.url}/generate_stream`, { method: 'POST', body: JSON.stringify(body) });
  assert.equal(response.status, 200);
  const texts = {};
  for (const event of (await response.text()).split('\n\n').filter(Boolean)) {
    const lines = event.split('\n');
    const id = lines.find((line) => line.startsWith('id: '))?.slice(4) ?? '';
    const data = lines.filter((line) => line.startsWith('data: ')).map((line) => line.slice(6)).join('\n');
    texts[id] = (texts[id] ?? '') + data;
  }
  return texts;
}

test('a text or a list of texts is continued, greedily unless asked', async () => {
  const one = await server.post('/generate', { text: golden.prompt });
  assert.deepEqual(one.body, { text: golden.text });
  const two = await server.post('/generate', { text: [golden.prompt, goldens[0].prompt], consumer_group: 'primary' });
  assert.deepEqual(two.body, { text: [golden.text, goldens[0].text] });
  const short = await server.post('/generate', { text: golden.prompt, max_new_tokens: 1, consumer_group: model,
    sampling_temperature: 0.5, sampling_topp: 0.9, sampling_topk: 1, repetition_penalty: 1, min_new_tokens: 1 });
  assert.deepEqual(short.body, { text: 'The' });
});

test('an answer has min_new_tokens, though the model would end before', async () => {
  const ask = { text: golden.prompt, max_new_tokens: 60 };
  const { text } = (await server.post('/generate', ask)).body;
  const longer = (await server.post('/generate', { ...ask, min_new_tokens: 40 })).body.text;
  assert.ok(longer.startsWith(text) && longer.length > text.length, longer);
  const { choices, usage } = await server.client.completions.create(
    { model, prompt: golden.prompt, temperature: 0, max_tokens: 60, min_tokens: 40 });
  assert.ok(usage.completion_tokens >= 40);
  assert.equal(choices[0].text, longer);
  // What the schema says is over is over.
  const closed = await server.post('/generate', { ...ask, min_new_tokens: 40, regex_string: 'Paris|Rome' });
  assert.match(closed.body.text, /^(Paris|Rome)$/);
});

test('streams', async () => {
  assert.deepEqual(await stream({ text: golden.prompt }), { '': golden.text });
  assert.deepEqual(await stream({ text: [golden.prompt, goldens[12].prompt] }),
                   { 0: golden.text, 1: (await server.post('/generate', { text: goldens[12].prompt })).body.text });
});

test('wrong fields are named', async () => {
  for (const [body, status, param] of [
    [{}, 400, 'text'], [{ text: 5 }, 400, 'text'], [{ text: [] }, 400, 'text'], [{ text: ['a', 1] }, 400, 'text[1]'],
    [{ text: 'a', temperature: 1 }, 400, 'temperature'], [{ text: 'a', sampling_topp: 2 }, 400, 'sampling_topp'],
    [{ text: 'a', consumer_group: 'none' }, 404, 'consumer_group'], [{ text: 'a', regex_string: '(?=a)' }, 400, 'regex_string'],
    [{ text: 'a', json_schema: { type: 'strnig' } }, 400, 'json_schema'], [{ text: 'a', max_new_tokens: 4, min_new_tokens: 5 }, 400, 'min_new_tokens'],
  ]) {
    const answer = await server.post('/generate', body);
    assert.equal(answer.status, status, JSON.stringify(body));
    assert.equal(answer.body.error.param, param);
  }
});
