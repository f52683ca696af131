// Streams whose next event is long in coming say that they are alive (--sse-keep-alive): behind others in the queue, and
// where a step hangs, for which the process of an isolated backend is stopped.
import assert from 'node:assert/strict';
import test from 'node:test';
import { Server, eventually, goldens, lasting, model, paris, require } from './harness.mjs';
import { children } from './isolation.mjs';
import { sampleOf } from './metrics.mjs';

const { Anthropic } = require('@anthropic-ai/sdk');
const { Ollama } = require('ollama');
const golden = goldens[1];  // of `paris`
const comment = ': keep-alive\n\n';
const often = ['--sse-keep-alive', '0.05'];
const endless = { model, messages: paris, ignore_eos: true, stream: true };

// Every route that streams, with what it is asked and how it tells that it failed.
const greedy = { model, temperature: 0, stream: true };
const dialects = {
  '/v1/chat/completions': [{ ...greedy, messages: paris }, /^data: \{"error":\{.*"code":"(\w+)"/m],
  '/v1/completions': [{ ...greedy, prompt: golden.prompt, max_tokens: 60 }, /^data: \{"error":\{.*"code":"(\w+)"/m],
  '/v1/responses': [{ ...greedy, input: paris[0].content }, /^event: response\.failed\ndata: .*"code":"(\w+)"/m],
  '/v1/messages': [{ ...greedy, messages: paris, max_tokens: 60 }, /^event: error\ndata: .*"type":"(overloaded_error)"/m],
  '/generate_stream': [{ text: golden.prompt }, /^event: error\ndata: (.*)/m],
};

// What comes of a stream, as it comes.
class Reader {
  static async open(server, target, body, type = /^text\/event-stream/) {
    const reader = new Reader();
    reader.abort = new AbortController();
    const response = await fetch(server.url + target,
                                 { method: 'POST', body: JSON.stringify(body), signal: reader.abort.signal });
    assert.equal(response.status, 200, target);
    assert.match(response.headers.get('content-type'), type);
    reader.chunks = response.body.pipeThrough(new TextDecoderStream()).getReader();
    reader.text = '';
    return reader;
  }
  async until(words) {
    while (!this.text.includes(words)) {
      const { value, done } = await this.chunks.read();
      assert.ok(!done, `ended without '${words}': ${this.text}`);
      this.text += value;
    }
  }
  async rest() {
    for (let read = await this.chunks.read(); !read.done; read = await this.chunks.read()) this.text += read.value;
    return this.text;
  }
}

// A server whose only place is taken until `free` is called.
async function withQueue(flags, body) {
  const server = await Server.start('--max-sequences', '1', ...lasting, ...flags);
  try {
    const first = await Reader.open(server, '/v1/chat/completions', endless);
    await first.until('data: ');
    await body(server, () => first.abort.abort());
  } finally {
    server.process.kill('SIGKILL');
  }
}

const waiting = (server) => sampleOf(server, 'nacelle_num_requests_waiting');

test('behind others the header and comments come, and the answer as ever', async () => withQueue(often, async (server, free) => {
  const readers = [];
  for (const [target, [ask]] of Object.entries(dialects)) {
    const reader = await Reader.open(server, target, ask);
    await reader.until(comment + comment);
    const events = [...reader.text.replaceAll(comment, '').matchAll(/^event: (.*)$/gm)].map(([, type]) => type);
    assert.deepEqual(events, target === '/v1/responses' ? ['response.created', 'response.in_progress'] : [], target);
    readers.push([target, reader]);
  }
  // A response in the background has begun when it waits; who follows it is kept patient too.
  const background = await Reader.open(server, '/v1/responses', { ...dialects['/v1/responses'][0], background: true });
  await background.until('event: response.queued');
  await background.until(comment + comment);
  readers.push(['in the background', background]);
  free();
  for (const [target, reader] of readers) {
    const text = await reader.rest();
    assert.match(text, /Paris/, target);
    if (target !== '/generate_stream') assert.match(text, /\[DONE\]\n\n$|response\.completed|message_stop/, target);
    assert.doesNotMatch(text.replaceAll(comment, ''), /keep-alive/, target);
  }
}));

// The promise of a stream is fulfilled by its header: all wait when the place is freed.
test('the clients\' own readers take no offence', async () => withQueue(often, async (server, free) => {
  const { client } = server;
  const anthropic = new Anthropic({ baseURL: server.url, apiKey: 'none', maxRetries: 0 });
  const chat = await client.chat.completions.create(dialects['/v1/chat/completions'][0]);
  const completion = await client.completions.create(dialects['/v1/completions'][0]);
  const response = await client.responses.create(dialects['/v1/responses'][0]);
  const messages = await anthropic.messages.create(dialects['/v1/messages'][0]);
  assert.equal(await waiting(server), 4);
  free();
  const read = async (stream, textOf) => {
    let text = '';
    for await (const event of stream) text += textOf(event) ?? '';
    return text;
  };
  assert.equal(await read(chat, (chunk) => chunk.choices[0]?.delta.content), golden.text);
  assert.equal(await read(completion, (chunk) => chunk.choices[0]?.text), golden.text);
  assert.equal(await read(response, (event) => event.type === 'response.output_text.delta' && event.delta || ''), golden.text);
  assert.equal(await read(messages, (event) => event.delta?.text), golden.text);
}));

test('a refusal keeps its status; a client that leaves while it waits is forgotten', async () => withQueue(
  [...often, '--max-queue', '1'], async (server) => {
    const reader = await Reader.open(server, '/v1/chat/completions', dialects['/v1/chat/completions'][0]);
    for (const [target, [ask]] of Object.entries(dialects)) {
      assert.equal((await server.post(target, ask)).status, 429, target);
      assert.equal((await server.post(target, { ...ask, colour: 1 })).status, 400, target);
    }
    await reader.until(comment);
    reader.abort.abort();
    await eventually(async () => await waiting(server) === 0);
  }));

test('a failure behind the header is an event, and without keep-alives a status', async () => {
  const ask = { ...dialects['/v1/chat/completions'][0], timeout: 0.3 };
  await withQueue(often, async (server) => {
    const stream = await server.client.chat.completions.create(ask);
    const none = async () => { for await (const chunk of stream) assert.fail(JSON.stringify(chunk)); };
    await assert.rejects(none, { code: 'timeout' });
  });
  await withQueue(['--sse-keep-alive', '0'], async (server) => {
    const response = await server.client.responses.create({ ...dialects['/v1/responses'][0], timeout: 0.3 });
    const events = [];
    for await (const event of response) events.push(event);
    assert.deepEqual(events.map(({ type }) => type), ['response.created', 'response.in_progress', 'response.failed']);
    assert.deepEqual(events.map(({ response: { status } }) => status), ['in_progress', 'in_progress', 'failed']);
    assert.equal(events[2].response.error.code, 'server_error');
    assert.match(events[2].response.error.message, /timeout of 300 ms/);
    await assert.rejects(server.client.chat.completions.create(ask), { status: 504, code: 'timeout' });
  });
});

// Lines of JSON have no comments: an object without text, which clients add to what they have.
test('Ollama\'s streams say it with an object without text', async () => withQueue([...often, '--max-queue', '3'], async (server, free) => {
  const options = { temperature: 0 };
  const ask = { '/api/chat': { model, messages: paris, options }, '/api/generate': { model, prompt: paris[0].content, options } };
  const textOf = (line) => line.message?.content ?? line.response;
  const readers = [];
  for (const [target, body] of Object.entries(ask)) {
    const reader = await Reader.open(server, target, body, /^application\/x-ndjson$/);
    await reader.until('}\n{');
    const silent = JSON.parse(reader.text.split('\n')[0]);
    assert.deepEqual([textOf(silent), silent.done], ['', false]);
    readers.push(reader);
  }
  const stream = await new Ollama({ host: server.url }).chat({ ...ask['/api/chat'], stream: true });
  for (const [target, body] of Object.entries(ask)) {
    const refused = await server.post(target, body);
    assert.equal(refused.status, 429);
    assert.equal(typeof refused.body.error, 'string');
  }
  free();
  for (const reader of readers) {
    const lines = (await reader.rest()).trim().split('\n').map(JSON.parse);
    assert.equal(lines.map(textOf).join(''), golden.text);
    const last = lines.at(-1);
    assert.ok(last.total_duration > 50e6);  // it waited for that long at least
    assert.ok(last.load_duration + last.prompt_eval_duration + last.eval_duration < last.total_duration - 40e6);
  }
  let text = '';
  for await (const part of stream) text += part.message.content;
  assert.equal(text, golden.text);
}));

// Comments, and pings once Anthropic's message has started.
test('where a step hangs they come too, and a device that is lost then is told in the stream', async () => {
  const server = await Server.start('--isolate', 'cpu', '--device', 'cpu', ...often, ...lasting);
  try {
    const [child] = children(server);
    const format = { type: 'json_schema', schema: { type: 'string', minLength: 5000 } };
    const begun = await Reader.open(server, '/v1/messages',
                                    { ...dialects['/v1/messages'][0], max_tokens: 8000, output_config: { format } });
    await begun.until('event: content_block_delta');
    process.kill(child, 'SIGSTOP');
    await begun.until('event: ping\ndata: {"type":"ping"}\n\n'.repeat(2));  // the first of all stands alone
    const readers = await Promise.all(Object.entries(dialects).map(async ([target, [ask]]) => {
      const reader = await Reader.open(server, target, ask);
      await reader.until(comment);
      return [target, reader];
    }));
    const told = await new Ollama({ host: server.url }).chat({ model, messages: paris, stream: true });
    process.kill(child, 'SIGKILL');
    for (const [target, reader] of readers) assert.match(await reader.rest(), dialects[target][1], target);
    assert.match(await begun.rest(), dialects['/v1/messages'][1]);
    await assert.rejects(async () => { for await (const part of told) assert.equal(part.done, false); }, /device|lost|ended/);
    assert.ok(!begun.text.slice(begun.text.indexOf('event: message_start')).includes(comment));
  } finally {
    server.process.kill('SIGKILL');
  }
});
