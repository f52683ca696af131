// Tokens of several steps in one send (--stream-gather): the events are the same, and come in fewer pieces.
import assert from 'node:assert/strict';
import test from 'node:test';
import { Server, model } from './harness.mjs';

const streams = 24, tokens = 120;

// The chunks of each stream's body; all streams run at once.
async function chunks(...flags) {
  const server = await Server.start('--no-speculation', ...flags);
  try {
    const body = JSON.stringify({ model, prompt: 'What is the capital of France?', temperature: 0, ignore_eos: true,
                                logit_bias: { 2043: -100 }, max_tokens: tokens, stream: true });  // without <|endoftext|>, which is no text
    const ask = `POST /v1/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;
    const answers = await Promise.all(Array.from({ length: streams }, () => server.raw(ask, 20_000)));
    return answers.map((answer) => {
      const found = [];
      let rest = Buffer.from(answer.slice(answer.indexOf('\r\n\r\n') + 4));
      for (let size; (size = parseInt(rest.toString('latin1', 0, 10), 16)) > 0;) {
        const begin = rest.indexOf('\r\n') + 2;
        found.push(rest.toString('utf8', begin, begin + size));
        rest = rest.subarray(begin + size + 2);
      }
      return found;
    });
  } finally {
    server.process.kill('SIGKILL');
  }
}

const events = (pieces) => pieces.join('').split('\n\n').filter(Boolean).map((event) => {
  assert.match(event, /^data: /);
  return event === 'data: [DONE]' ? event : JSON.parse(event.slice(6)).choices[0];
});

test('what streams get in short steps goes out together, an event a token as ever', async () => {
  const [at_once, gathered] = [await chunks('--stream-gather', '0'), await chunks('--stream-gather', '1')];
  const whole = events(at_once[0]);
  assert.deepEqual(whole.at(-1), 'data: [DONE]');
  assert.ok(whole.length > tokens / 2, `${whole.length} events`);
  for (const pieces of [...at_once, ...gathered]) assert.deepEqual(events(pieces), whole);
  const count = (answers) => answers.reduce((sum, pieces) => sum + pieces.length, 0);
  assert.ok(count(at_once) > streams * whole.length / 2, `${count(at_once)} pieces`);
  assert.ok(count(gathered) < count(at_once) / 3, `${count(gathered)} pieces of ${count(at_once)}`);
});
