// A rollout of two pods as a kubelet and a Service do it, on the real program under load: the rendered pod's command, settings,
// probes, preStop and grace period are carried out, and no request may be lost. Clients learn of a change of the Service's pods
// up to `lag` seconds late, as through kube-proxy and gateways.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { program, render } from './chart_render.mjs';
import { Pod, podOf, sleep } from './pod.mjs';

const lag = 2;
const flags = ['--set', 'probes.periodSeconds=1', '--set', 'drain.preStopSeconds=3', '--set', 'drain.seconds=20'];

class Service {
  pods = [];
  // Clients hear of it later.
  add(pod) { setTimeout(() => this.pods.push(pod), 1000 * lag * Math.random()); }
  remove(pod) { setTimeout(() => { this.pods = this.pods.filter((one) => one !== pod); }, 1000 * lag); }
  pick() { return this.pods[Math.floor(Math.random() * this.pods.length)]; }
}

// One streamed answer of a fixed length. A connection that was closed while nobody used it is tried again on another, as every
// client does; nothing else is.
function ask(pod, agent, counts) {
  return new Promise((resolve) => {
    const body = JSON.stringify({ messages: [{ role: 'user', content: 'Tell me something.' }], max_tokens: 40, ignore_eos: true, stream: true });
    const request = http.request({ host: '127.0.0.1', port: pod.port, path: '/v1/chat/completions', method: 'POST', agent: agent ?? false,
                                   headers: { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body) } }, (response) => {
      let text = '';
      response.on('data', (data) => { text += data; });
      response.on('error', () => {});
      response.on('close', () => {
        if (response.statusCode === 200 && text.includes('"finish_reason":"length"') && text.endsWith('data: [DONE]\n\n')) return resolve('answered');
        resolve(`${pod.name}: ${response.statusCode}, cut after ${text.length} bytes: ${text.slice(-200)}`);
      });
    });
    request.on('error', (error) => {
      if (request.reusedSocket && ['ECONNRESET', 'EPIPE'].includes(error.code) && !request.res) { ++counts.retried; return resolve(ask(pod, undefined, counts)); }
      resolve(`${pod.name}: ${error.code}`);
    });
    request.end(body);
  });
}

// Clients in a closed loop: half of them keep their connection (as a gateway's pool does), half open one a request.
function load(service, clients) {
  const state = { stop: false, answered: 0, retried: 0, lost: [] };
  const one = async (keeps) => {
    const agent = keeps ? new http.Agent({ keepAlive: true, maxSockets: 1 }) : undefined;
    while (!state.stop) {
      const result = await ask(service.pick(), agent, state);
      if (result === 'answered') ++state.answered; else state.lost.push(result);
    }
    agent?.destroy();
  };
  state.done = Promise.all(Array.from({ length: clients }, (_, i) => one(i % 2 === 0)));
  return state;
}

async function rollout(options) {
  const manifests = render('laptop', ...flags);
  const folder = mkdtempSync(path.join(os.tmpdir(), 'nacelle-rollout-'));
  const service = new Service();
  const pods = [];
  const start = async () => {
    const pod = new Pod(manifests, podOf(manifests, 'Deployment'), folder);
    pods.push(pod);
    await pod.start();
    service.add(pod);
    return pod;
  };
  try {
    const old = [await start(), await start()];
    while (service.pods.length < 2) await sleep(0.1);
    const traffic = load(service, 12);
    await sleep(2);
    const ends = [];
    for (const pod of old) {  // maxSurge 1, maxUnavailable 0: a new one is ready before an old one goes
      await start();
      service.remove(pod);
      ends.push(pod.end(options));
    }
    const how = await Promise.all(ends);
    await sleep(1);
    traffic.stop = true;
    await traffic.done;
    return { traffic, how, failures: pods.flatMap((pod) => pod.failures), grace: pods[0].grace };
  } finally {
    for (const pod of pods) await pod.kill();
    rmSync(folder, { recursive: true });
  }
}

const skip = program ? false : 'needs build/release/bin/nacelle';

test('a rollout under load loses nothing', { skip, timeout: 120_000 }, async () => {
  const { traffic, how, failures } = await rollout();
  console.log(`# ${traffic.answered} answers streamed through the rollout of two pods, ${traffic.lost.length} lost; ${traffic.retried} idle connections were closed under a request and tried again`);
  assert.deepEqual(traffic.lost, []);
  assert.ok(traffic.answered > 100);
  assert.deepEqual(how, [{ code: 0, signal: null }, { code: 0, signal: null }], 'drained within the grace period');
  assert.deepEqual(failures, [], 'probes of pods that serve');
});

test('without the preStop it does', { skip, timeout: 120_000 }, async () => {
  const { traffic } = await rollout({ preStop: 0 });
  console.log(`# without preStop: ${traffic.answered} answers, ${traffic.lost.length} lost, as ${traffic.lost[0]}`);
  assert.ok(traffic.lost.length > 0, 'the test can fail');
});
