// A backend in a process of its own (--isolate): the same answers as without, and a server that outlives it.
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { Server, eventually, model, paris } from './harness.mjs';

const build = path.resolve(path.dirname(process.env.NACELLE), '..');

// The processes that a server has started.
export const children = (server) => readdirSync('/proc').filter((pid) => {
  try {
    return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/status`, 'utf8').includes(`\nPPid:\t${server.process.pid}\n`);
  } catch {
    return false;
  }
}).map(Number);

const ready = (server) => eventually(async () => (await server.get('/readyz')).status === 200);
const ask = (server, extra = {}) => fetch(`${server.url}/v1/chat/completions`, {
  method: 'POST', headers: { 'Content-Type': 'application/json' },
  body: JSON.stringify({ model, messages: paris, temperature: 0, max_tokens: 24, ...extra }),
});
const text = async (response) => (await response.json()).choices[0].message.content;

// How a request ended: 'answered', or 'refused' in a way that tells the client to try again.
async function outcome(response) {
  const body = await response.text();
  if (response.status === 503) {
    assert.ok(response.headers.get('retry-after'));
    return 'refused';
  }
  assert.equal(response.status, 200);
  if (body.includes('"device_lost"')) return 'refused';  // in the middle of a stream
  assert.ok(body.trimEnd().endsWith('data: [DONE]'), body.slice(-300));
  return 'answered';
}

test('an isolated backend gives the same answers, and a killed one is replaced without a request left alone', async () => {
  const plain = await Server.start('--device', 'cpu');
  const isolated = await Server.start('--isolate', 'cpu', '--device', 'cpu');
  try {
    const expected = await text(await ask(plain));
    assert.equal(await text(await ask(isolated)), expected);
    for (const extra of [{ n: 3, logprobs: true, top_logprobs: 5 }, { temperature: 0.8, seed: 7, top_p: 0.9, repetition_penalty: 1.2 }]) {
      const [a, b] = await Promise.all([plain, isolated].map(async (server) => (await (await ask(server, extra)).json()).choices));
      assert.deepEqual(a, b);
    }
    assert.equal(children(isolated).length, 1);
    const running = Array.from({ length: 12 }, () => ask(isolated, { stream: true, max_tokens: 400, ignore_eos: true }));
    await Promise.all(running);  // the headers are there: all run or wait
    process.kill(children(isolated)[0], 'SIGKILL');
    const ends = await Promise.all(running.map(async (response) => outcome(await response)));
    assert.ok(ends.includes('refused'), ends.join(' '));
    await ready(isolated);
    assert.equal(await text(await ask(isolated)), expected);
    assert.equal(children(isolated).length, 1);
    assert.match(await (await isolated.get('/metrics')).text(), /nacelle_plugin_process_deaths_total\{plugin="cpu"\} 1\n/);
    assert.match(isolated.log, /an isolated plugin's process has died.*signal 9/);
    // Idle, it is noticed too.
    process.kill(children(isolated)[0], 'SIGSEGV');
    await eventually(async () => /deaths_total\{plugin="cpu"\} 2\n/.test(await (await isolated.get('/metrics')).text()));
    await ready(isolated);
    assert.equal(await text(await ask(isolated)), expected);
  } finally {
    await plain.stop();
    const { code } = await isolated.stop();
    assert.equal(code, 0);
  }
});

test('a plugin that crashes in a step costs its requests, not the server', async () => {
  const server = await Server.start(
    '--plugin-dir', path.join(build, 'faulty_plugins'), '--device', 'faulty', '--isolate', 'faulty',
    '--plugin-config', 'backend.faulty.fault=crash', '--plugin-config', 'backend.faulty.steps=4', '--plugin-config',
    `backend.faulty.target=${path.join(build, 'lib/nacelle/plugins/libnacelle_backend_cpu.so')}`);
  try {
    for (let round = 0; round < 2; ++round) {
      await ready(server);
      const response = await ask(server, { max_tokens: 50, ignore_eos: true });
      assert.equal(response.status, 503);
      assert.match((await response.json()).error.message, /^the device faulty is lost/);
    }
    assert.equal((await server.get('/livez')).status, 200);
  } finally {
    await server.stop();
  }
});

test('a plugin that hangs is killed after its time', async () => {
  const server = await Server.start('--isolate', 'cpu', '--device', 'cpu', '--isolate-timeout', '1');
  const [pid] = children(server);
  try {
    process.kill(pid, 'SIGSTOP');
    assert.equal((await ask(server)).status, 503);
    await ready(server);
    assert.equal((await ask(server)).status, 200);
    assert.match(server.log, /given no sign for too long/);
  } finally {
    await server.stop();
  }
});

test('the process goes with its server', async () => {
  const server = await Server.start('--isolate', 'cpu', '--device', 'cpu');
  const [pid] = children(server);
  server.process.kill('SIGKILL');
  await server.exited;
  await eventually(() => {
    try {
      return readFileSync(`/proc/${pid}/status`, 'utf8').includes('State:\tZ');
    } catch {
      return true;
    }
  });
});
