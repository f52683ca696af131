// Clients that leave, dawdle or send too much; signals.
import assert from 'node:assert/strict';
import test from 'node:test';
import { Server, model, paris, server, sleep } from './harness.mjs';

const endless = { model, messages: paris, ignore_eos: true, stream: true };
const readAll = async (stream) => { for await (const chunk of stream) void chunk; };

test('a client that leaves frees its place at once', async () => {
  const single = await Server.start('--max-sequences', '1');
  const short = () => single.client.chat.completions.create({ model, messages: paris, max_tokens: 1 });
  const time = async (work) => { const begin = performance.now(); await work(); return performance.now() - begin; };
  try {
    const whole = await time(async () => readAll(await single.client.chat.completions.create(endless)));
    const behind = await time(async () => {  // the place is taken: the short request waits for the long one
      const long = readAll(await single.client.chat.completions.create(endless));
      await short();
      await long;
    });
    const left = await time(async () => {
      const stream = await single.client.chat.completions.create(endless);
      for await (const chunk of stream) break;  // aborts the request
      await short();
    });
    const unstreamed = await time(async () => {
      const abort = new AbortController();
      const answer = single.client.chat.completions.create({ ...endless, stream: false }, { signal: abort.signal });
      setTimeout(() => abort.abort(), Math.min(whole / 20, 10));  // `whole` may have met a busy machine
      await assert.rejects(answer);
      await short();
    });
    assert.ok(behind > whole * 0.6, `${behind} ms behind an answer of ${whole} ms`);
    assert.ok(left < whole * 0.4, `${left} ms after an abort, the whole takes ${whole} ms`);
    assert.ok(unstreamed < whole * 0.5, `${unstreamed} ms after an abort, the whole takes ${whole} ms`);
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
