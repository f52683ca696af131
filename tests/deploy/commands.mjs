// The commands of the rendered containers, run for real: the init container fetches a model from a hub or a mirror, the server
// serves it without them, the test pod asks its question, the tuning Job measures where the next pod looks.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { Hub } from '../http/hub.mjs';
import { program, render, root } from './chart_render.mjs';
import { Pod, podOf } from './pod.mjs';

const skip = program ? false : 'needs build/release/bin/nacelle';
const model = readFileSync(path.join(root, 'models/demo/nacelle-demo-q8_0.gguf'));
const set = (values) => Object.entries(values).flatMap(([key, value]) => [typeof value === 'string' ? '--set-string' : '--set-json', `${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`]);

// A folder, and all that was started in it ends with it.
async function inFolder(use) {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'nacelle-deploy-'));
  const ends = [];
  const make = (...args) => { const pod = new Pod(...args); ends.push(() => pod.kill()); return pod; };
  try { await use({ folder, make, ends }); } finally {
    for (const end of ends) await end();
    rmSync(folder, { recursive: true });
  }
}

async function testPod(manifests, server, folder, files) {
  const pod = new Pod(manifests, podOf(manifests, 'Pod', '-test'), folder, { files });
  const scheme = server.container.readinessProbe.httpGet.scheme.toLowerCase();
  return pod.run(pod.container, { [`${scheme}://nacelle.llm:80`]: `${scheme}://127.0.0.1:${server.port}` });
}

test('a model of the hub, measured once, served by two pods; the test pod asks', { skip, timeout: 120_000 }, () => inFolder(async ({ folder, make, ends }) => {
  const hub = await Hub.start({ 'org/one': { 'README.md': Buffer.from('x'), 'tiny-Q8_0.gguf': model } }, { token: 'hf_secret' });
  ends.push(() => hub.stop().catch(() => {}));
  // The keys as docs/deploy.md makes them.
  const [key, line] = execFileSync(program, ['key', 'new', 'apps'], { encoding: 'utf8' }).match(/\S{20,}/g);
  const manifests = render('laptop', ...set({
    'model.source': 'hf', 'model.name': 'chat', 'model.hf.repository': 'org/one', 'model.hf.file': 'Q8_0', 'model.hf.endpoint': hub.url,
    'model.hf.tokenSecret.name': 'hub-token', 'tuning.job': true, 'tuning.budget': '500ms', 'cache.type': 'perPool', 'cache.packedWeights': true,
    'auth.secret': 'nacelle-keys', 'auth.testSecret': 'nacelle-test-key',
    'pools[0].server': { 'max-sequences': 8, threads: 2, numerics: 'stable', 'isa-cap': 'avx2', 'plugin-config': { 'some.key': 'x' }, 'pin-threads': false },
  }));
  const files = { 'hub-token': { token: 'hf_secret' }, 'nacelle-keys': { keys: `${line}\n` }, 'nacelle-test-key': { key } };
  const models = path.join(folder, 'claim');
  mkdirSync(models);

  const job = make(manifests, podOf(manifests, 'Job'), folder, { files, models });
  for (const container of [...job.spec.initContainers, job.container]) {
    const { code, out, err } = await job.run(container);
    assert.equal(code, 0, out + err);
  }
  assert.equal(hub.bytes, model.length);
  const verdicts = () => readdirSync(path.join(models, 'tuning/cpu/nacelle'), { recursive: true });
  assert.ok(verdicts().length > 3, 'what was measured lies in the claim');
  const measured = verdicts();

  const pods = [];
  for (let i = 0; i < 2; ++i) {
    const pod = make(manifests, podOf(manifests, 'Deployment'), folder, { files, models });
    await pod.start();
    pods.push(pod);
  }
  assert.equal(hub.bytes, model.length, 'fetched once');
  assert.deepEqual(verdicts(), measured, 'nothing is measured while serving');
  await hub.stop();

  const asked = await testPod(manifests, pods[0], folder, files);
  console.log(`# the test pod was answered: ${asked.out.trim()}`);
  assert.deepEqual([asked.code, /Paris/.test(asked.out)], [0, true], asked.err);
  const stranger = await testPod(manifests, pods[0], folder, { 'nacelle-test-key': { key: 'no such key' } });
  assert.equal(stranger.code, 7);
  assert.match(stranger.err, /401/);
  assert.deepEqual(pods.flatMap((pod) => pod.failures), []);
}));

test('a token that the hub refuses ends the init container with its words', { skip }, () => inFolder(async ({ folder, make, ends }) => {
  const hub = await Hub.start({ 'org/one': { 'tiny-Q8_0.gguf': model } }, { token: 'hf_secret' });
  ends.push(() => hub.stop());
  const manifests = render('laptop', ...set({ 'model.source': 'hf', 'model.hf.repository': 'org/one', 'model.hf.endpoint': hub.url, 'model.hf.tokenSecret.name': 'hub-token' }));
  const pod = make(manifests, podOf(manifests, 'Deployment'), folder, { files: { 'hub-token': { token: 'wrong' } } });
  const { code, err } = await pod.run(pod.spec.initContainers[0]);
  assert.notEqual(code, 0);
  assert.match(err, /org\/one.*HF_TOKEN|HF_TOKEN.*org\/one/s);
}));

// The pool `mirror` of the air-gapped example: an authority and a certificate of the cluster's own, a file with its checksum.
test('air-gapped: a mirror behind an authority of its own, TLS and keys', { skip, timeout: 120_000 }, () => inFolder(async ({ folder, make, ends }) => {
  const tls = path.join(folder, 'tls');
  mkdirSync(tls);
  execFileSync('openssl', ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=mirror', '-addext', 'subjectAltName=IP:127.0.0.1',
                           '-keyout', path.join(tls, 'key.pem'), '-out', path.join(tls, 'cert.pem')], { stdio: 'ignore' });
  const [privateKey, certificate] = ['key.pem', 'cert.pem'].map((name) => readFileSync(path.join(tls, name)));
  const mirror = await Hub.start({ 'files/one': { 'chat.gguf': model } }, { tls: { key: privateKey, cert: certificate } });
  ends.push(() => mirror.stop().catch(() => {}));
  const url = `https://127.0.0.1:${mirror.ports[1]}/files/one/chat.gguf`;
  const rendered = (sha256) => render('airgapped', ...set({ 'pools[2].model.http.url': url, 'pools[2].model.http.sha256': sha256, 'auth.testSecret': 'nacelle-test-key' }))
    .filter(({ kind, metadata }) => kind !== 'Deployment' || metadata.name === 'nacelle-mirror');
  const manifests = rendered(createHash('sha256').update(model).digest('hex'));
  const [key, line] = execFileSync(program, ['key', 'new', 'apps'], { encoding: 'utf8' }).match(/\S{20,}/g);
  const files = { 'internal-ca': { 'ca.crt': certificate }, 'nacelle-tls': { 'tls.crt': certificate, 'tls.key': privateKey }, 'nacelle-keys': { keys: `${line}\n` }, 'nacelle-test-key': { key } };

  const pod = make(manifests, podOf(manifests, 'Deployment'), folder, { files });
  await pod.start();
  await mirror.stop();
  const asked = await testPod(manifests, pod, folder, files);
  assert.equal(asked.code, 0, asked.err);

  await mirror.listen();
  const changed = rendered('0'.repeat(64));
  const bad = make(changed, podOf(changed, 'Deployment'), folder, { files });
  const { code, err } = await bad.run(bad.spec.initContainers[0]);
  assert.notEqual(code, 0);
  assert.match(err, /sha-?256|SHA-256/);
}));

for (const [index, source] of ['oci', 'pvc'].entries()) test(`air-gapped: a model from ${source}`, { skip }, () => inFolder(async ({ folder, make }) => {
  const manifests = render('airgapped', '--set', 'auth.secret=', '--set', 'tls.secret=', '--set', 'manage.enabled=false', ...set({ [`pools[${index}].vendor`]: 'cpu' }));
  const { oci, pvc } = { oci: { 'registry.internal:5000/models/chat:7': { 'chat-q8_0.gguf': model } }, pvc: { models: { 'chat/chat-q4_k_m.gguf': model } } };
  const pool = manifests.filter(({ kind, metadata }) => kind === 'Deployment' && metadata.name === `nacelle-${source === 'oci' ? 'gpu' : 'cpu'}`);
  const pod = make(manifests, podOf(pool, 'Deployment'), folder, { files: { ...oci, ...pvc } });
  await pod.start();
  const asked = await testPod(manifests, pod, folder, {});
  assert.match(asked.out, /Paris/, asked.err);
}));
