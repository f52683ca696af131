// Clients that leave, dawdle or send too much; signals.
import assert from 'node:assert/strict';
import test from 'node:test';
import { Server, eventually, lasting, model, paris, server, sleep } from './harness.mjs';
import { sampleOf } from './metrics.mjs';

const endless = { model, messages: paris, ignore_eos: true, stream: true };
const readAll = async (stream) => { for await (const chunk of stream) void chunk; };

test('a client that leaves frees its place at once', async () => {
  const single = await Server.start('--max-sequences', '1', ...lasting);
  const short = () => single.client.chat.completions.create({ model, messages: paris, max_tokens: 1 });
  const generated = () => sampleOf(single, 'nacelle_generation_tokens_total');
  const running = () => sampleOf(single, 'nacelle_num_requests_running');
  try {
    const long = readAll(await single.client.chat.completions.create({ ...endless, max_tokens: 800 }));
    await short();  // the place is taken: it waits for the long one
    assert.ok(await generated() > 800, 'a short request did not wait for its place');
    await long;
    const before = await generated();
    for await (const chunk of await single.client.chat.completions.create(endless)) break;  // aborts the request
    await short();
    const abort = new AbortController();
    const answer = single.client.chat.completions.create({ ...endless, stream: false }, { signal: abort.signal });
    await eventually(async () => await running() === 1);
    abort.abort();
    await assert.rejects(answer);
    await short();
    const wasted = await generated() - before;  // each of them would have been 16,000
    assert.ok(wasted < 8000, `${wasted} tokens for nobody`);
  } finally {
    await single.stop();
  }
});

test('a header that never ends gets 408', async () => {
  const begin = performance.now();
  const text = await server.raw('POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nX-Slow: ');
  assert.match(text, /^HTTP\/1.1 408 /);
  assert.ok(performance.now() - begin < 3000);
});

test('too large a body gets 413, announced or not', async () => {
  const body = 'x'.repeat(1_000_001);
  assert.equal((await server.post('/v1/chat/completions', body)).status, 413);
  const chunked = `POST /tokenize HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nf4241\r\n${body}\r\n0\r\n\r\n`;
  assert.match(await server.raw(chunked), /^HTTP\/1.1 413 /);
});

test('SIGTERM: answers under way are finished, new ones refused, probes tell', async () => {
  const ending = await Server.start();
  const stream = await ending.client.chat.completions.create(endless);
  let finish;
  let pieces = 0;
  let draining;
  for await (const chunk of stream) {
    if (++pieces === 2) {
      ending.process.kill('SIGTERM');
      draining = (async () => {
        while ((await ending.get('/readyz')).status === 200) await sleep(5);
        assert.equal((await ending.get('/readyz')).status, 503);
        assert.equal((await ending.get('/livez')).status, 200);
        await assert.rejects(ending.client.chat.completions.create({ model, messages: paris }), { status: 503 });
      })();
    }
    finish = chunk.choices[0].finish_reason ?? finish;
  }
  await draining;
  assert.equal(finish, 'length');
  assert.ok(pieces > 50);
  assert.deepEqual(await ending.exited, { code: 0, signal: null });
});

test('a second signal, or the end of --drain-seconds, cuts', async () => {
  for (const [flags, kills, expected] of [[[], 2, 143], [['--drain-seconds', '0'], 1, 0]]) {
    const ending = await Server.start(...flags);
    const answer = assert.rejects(readAll(await ending.client.chat.completions.create(endless)));
    for (let i = 0; i < kills; ++i) {
      ending.process.kill('SIGTERM');
      await sleep(50);
    }
    await answer;
    assert.equal((await ending.exited).code, expected);
  }
});
