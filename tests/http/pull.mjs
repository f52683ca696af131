// `nacelle pull` and `--model hf:...` against a hub that breaks, lies, asks for tokens and dies.
import assert from 'node:assert/strict';
import { execFile, execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { promisify } from 'node:util';
import { Server, eventually, paris, root } from './harness.mjs';
import { Hub } from './hub.mjs';

const nacelle = process.env.NACELLE;
const model = readFileSync(path.join(root, 'models/demo/nacelle-demo-q8_0.gguf'));
const digest = createHash('sha256').update(model).digest('hex');
const config = Buffer.from('{"model_type": "llama"}\n');
const repositories = {
  'org/one': { 'README.md': config, 'tiny-Q8_0.gguf': model },
  'org/many': { 'tiny-Q4_K.gguf': model, 'tiny-Q4_K_M.gguf': model, 'tiny-Q8_0-00001-of-00002.gguf': model, 'tiny-Q8_0-00002-of-00002.gguf': model },
  'org/folder': { 'config.json': config, 'model.safetensors': model, 'tokenizer.json': config, 'onnx/model.onnx': model, 'consolidated.safetensors': model },
};

async function withHub(use, options) {
  const cache = mkdtempSync(path.join(os.tmpdir(), 'nacelle-hub-'));
  const hub = await Hub.start(structuredClone(repositories), options);
  for (const files of Object.values(hub.repositories)) for (const name in files) files[name] = Buffer.from(files[name]);
  const env = { ...process.env, HF_ENDPOINT: hub.url, HF_HUB_CACHE: cache, HF_TOKEN: '', HF_HUB_OFFLINE: '' };
  const pull = async (args, more = {}) => {
    const child = spawn(nacelle, ['pull', '--json', ...args], { env: { ...env, ...more } });
    let [out, err] = ['', ''];
    child.stdout.on('data', (data) => { out += data; });
    child.stderr.on('data', (data) => { err += data; });
    const result = new Promise((resolve) => child.on('close', (code, signal) => resolve({ code, signal, err, models: code === 0 ? JSON.parse(out).models : [] })));
    return Object.assign(await (more.started ? { child, result } : result), {});
  };
  try { await use({ hub, cache, env, pull }); } finally { await hub.stop(); rmSync(cache, { recursive: true }); }
}

const blobs = (cache, name) => readdirSync(path.join(cache, `models--${name.replace('/', '--')}`, 'blobs'));

test('pull: a model into the cache, once, and served from there', async () => withHub(async ({ hub, cache, env, pull }) => {
  const first = await pull(['hf:org/one']);
  assert.equal(first.code, 0, first.err);
  const [{ path: file, files }] = first.models;
  assert.deepEqual(files, [{ name: 'tiny-Q8_0.gguf', size: model.length, checksum: `sha256:${digest}`, fetched: true }]);
  assert.ok(readFileSync(file).equals(model));
  assert.equal(readlinkSync(file), `../../blobs/${digest}`);
  assert.equal(readFileSync(path.join(cache, 'models--org--one/refs/main'), 'utf8'), hub.commit('org/one'));
  const again = await pull(['hf:org/one:q8_0']);
  assert.equal(again.models[0].files[0].fetched, false);
  assert.equal(hub.bytes, model.length);

  // From now on without the hub.
  await hub.stop();
  const before = process.env;
  process.env = { ...env, HF_ENDPOINT: hub.url };
  try {
    const server = await Server.start('--model', 'chat=hf:org/one');
    const answer = await server.client.chat.completions.create({ model: 'chat', messages: paris, temperature: 0 });
    assert.equal(answer.choices[0].message.content, 'The capital of France is Paris.');
    await server.stop();
  } finally {
    process.env = before;
  }
  const lost = await pull(['hf:org/one']);
  assert.equal(lost.code, 0, lost.err);
  assert.match(lost.err, /cannot connect: Connection refused; hf:org\/one is taken as it lies in the cache/);
  const other = await pull(['hf:org/many:Q8_0', '--retries', '0']);
  assert.deepEqual([other.code, /cannot connect: Connection refused/.test(other.err)], [7, true]);
  assert.match((await pull(['hf:org/many:Q8_0'], { HF_HUB_OFFLINE: '1' })).err, /HF_HUB_OFFLINE forbids/);
  await hub.listen();
}));

test('pull: which files a name means', async () => withHub(async ({ hub, pull }) => {
  const names = async (source) => {
    const { models, err } = await pull([source]);
    return models[0]?.files.map((one) => one.name) ?? err;
  };
  assert.deepEqual(await names('hf:org/many:q4_k'), ['tiny-Q4_K.gguf']);
  assert.deepEqual(await names('hf:org/many:Q4_K_M'), ['tiny-Q4_K_M.gguf']);
  assert.deepEqual(await names('hf:org/many:Q8_0'), ['tiny-Q8_0-00001-of-00002.gguf', 'tiny-Q8_0-00002-of-00002.gguf']);
  assert.deepEqual(await names('hf:org/folder'), ['config.json', 'model.safetensors', 'tokenizer.json']);
  assert.deepEqual(await names(`hf:org/one@${hub.commit('org/one')}:tiny-Q8_0.gguf`), ['tiny-Q8_0.gguf']);
  assert.match(await names('hf:org/many'), /several models; name one as in hf:org\/many:FILE, of tiny-Q4_K.gguf, tiny-Q4_K_M.gguf, tiny-Q8_0-00001/);
  assert.match(await names('hf:org/many:q4'), /2 of its files are called so/);
  assert.match(await names('hf:org/many:Q5'), /none of its files are called so; there are tiny-Q4_K/);
  assert.match(await names('hf:org/none'), /org\/none@main: http:\/\/127.0.0.1:\d+ has no such repository or file/);
  assert.match(await names('hf:org/one@v9'), /org\/one@v9: .* has no such/);
  assert.match(await names('hf:one'), /'hf:one': no repository; expected hf:ORG\/NAME\[@REVISION\]\[:FILE\]/);
  hub.repositories['org/evil'] = { '../../evil.gguf': model, 'ok.gguf': model };
  assert.deepEqual(await names('hf:org/evil'), ['ok.gguf']);
}));

test('pull: a hub that breaks off, and one that is killed in the middle', async () => withHub(async ({ hub, cache, pull }) => {
  hub.breaks = [1_000_000, 500_000];
  const broken = await pull(['hf:org/one']);
  assert.equal(broken.code, 0, broken.err);
  assert.deepEqual(hub.requests.filter(({ at }) => at === 'store').map(({ range }) => range), [undefined, 'bytes=1000000-', 'bytes=1500000-']);
  assert.equal(hub.bytes, model.length);
  assert.match(broken.err, /the connection ended before the answer was whole; again in 1 s, from byte 1000000/);

  // Killed, and started again while the pull waits for it.
  rmSync(cache, { recursive: true });
  hub.requests = [];
  hub.breaks = [2_000_000];
  hub.onBreak = async () => { await hub.stop(); hub.onBreak = undefined; await hub.listen(); };
  const revived = await pull(['hf:org/one']);
  assert.equal(revived.code, 0, revived.err);
  assert.equal(hub.requests.filter(({ at }) => at === 'store').at(-1).range, 'bytes=2000000-');

  // Killed for good: what came is kept, and the next pull goes on.
  rmSync(cache, { recursive: true });
  hub.breaks = [3_000_000];
  hub.onBreak = async () => { await hub.stop(); };
  const lost = await pull(['hf:org/one', '--retries', '0']);
  assert.deepEqual([lost.code, blobs(cache, 'org/one')], [7, [`${digest}.incomplete`]]);
  assert.match(lost.err, /tiny-Q8_0.gguf: .*3000000 bytes are kept, the next pull goes on from there/);
  hub.onBreak = undefined;
  hub.requests = [];
  await hub.listen();
  assert.equal((await pull(['hf:org/one'])).code, 0);
  assert.deepEqual(hub.requests.filter(({ at }) => at === 'store').map(({ range }) => range), ['bytes=3000000-']);
  assert.deepEqual(blobs(cache, 'org/one'), [digest]);
}));

test('pull: killed itself, and two at once', async () => withHub(async ({ hub, cache, pull }) => {
  let stalled;
  hub.breaks = [2_500_000];
  hub.onBreak = (response) => { stalled = response; };
  const { child, result } = await pull(['hf:org/one'], { started: true });
  await eventually(() => stalled && existsSync(path.join(cache, 'models--org--one/blobs')) && blobs(cache, 'org/one').length === 1);
  child.kill('SIGKILL');
  assert.equal((await result).signal, 'SIGKILL');
  hub.requests = [];
  const both = await Promise.all([pull(['hf:org/one']), pull(['hf:org/one'])]);
  assert.deepEqual(both.map(({ code }) => code), [0, 0], both[0].err + both[1].err);
  assert.deepEqual(both.map(({ models }) => models[0].files[0].fetched).toSorted(), [false, true]);
  assert.equal(hub.requests.filter(({ at }) => at === 'store').length, 1, 'one fetches, the other waits');
  assert.ok(readFileSync(both[0].models[0].path).equals(model));
}));

test('pull: a wrong checksum', async () => withHub(async ({ hub, cache, pull }) => {
  hub.lies = true;
  const { code, err } = await pull(['hf:org/one']);
  assert.equal(code, 5);
  assert.match(err, new RegExp(`tiny-Q8_0.gguf: its SHA-256 is [0-9a-f]{64}, it must be ${digest}; what came was removed`));
  assert.deepEqual(blobs(cache, 'org/one'), []);
  assert.ok(!existsSync(path.join(cache, 'models--org--one/refs/main')));
  hub.lies = false;
  assert.equal((await pull(['hf:org/one'])).code, 0);
}));

test('pull: tokens, which no other host gets', async () => withHub(async ({ hub, pull }) => {
  const refused = await pull(['hf:org/one']);
  assert.deepEqual([refused.code, /answered 401: private, .*HF_TOKEN/.test(refused.err)], [2, true], refused.err);
  hub.requests = [];
  assert.equal((await pull(['hf:org/one'], { HF_TOKEN: 'hf_secret\n' })).code, 0);
  for (const { at, token } of hub.requests) assert.equal(token, at === 'hub' ? 'Bearer hf_secret' : undefined);
}, { token: 'hf_secret' }));

test('pull: https with certificates that are looked at, and a URL with a checksum', async () => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'nacelle-ca-'));
  const [cert, key] = ['cert.pem', 'key.pem'].map((name) => path.join(folder, name));
  execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-subj', '/CN=hub',
                           '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', key, '-out', cert], { stdio: 'ignore' });
  await withHub(async ({ hub, pull }) => {
    const strange = await pull(['hf:org/one', '--retries', '0']);
    assert.deepEqual([strange.code, /its certificate is not trusted: self.signed certificate/.test(strange.err)], [7, true], strange.err);
    const known = { SSL_CERT_FILE: cert };
    const trusted = await pull(['hf:org/one'], known);
    assert.equal(trusted.code, 0, trusted.err);
    assert.ok(readFileSync(trusted.models[0].path).equals(model));
    const otherName = await pull(['hf:org/one', '--retries', '0'], { ...known, HF_ENDPOINT: hub.url.replace('127.0.0.1', 'localhost') });
    assert.match(otherName.err, /not trusted: hostname mismatch/);

    const url = `${hub.url.replace(/\d+$/, hub.ports[1])}/org/one/tiny-Q8_0.gguf`;
    const wrong = await pull([url, '--sha256', '0'.repeat(64)], known);
    assert.deepEqual([wrong.code, /it must be 0{64}; what came was removed/.test(wrong.err)], [5, true], wrong.err);
    const right = await pull([url, '--sha256', digest], known);
    assert.equal(right.code, 0, right.err);
    assert.ok(readFileSync(right.models[0].path).equals(model));
    assert.match((await pull(['http://127.0.0.1:1x/a.gguf'])).err, /its port is no number/);
  }, { tls: { cert: readFileSync(cert), key: readFileSync(key) } });
  rmSync(folder, { recursive: true });
});

test('pull: through a proxy', async (t) => withHub(async ({ hub, pull }) => {
  const seen = [];
  const proxy = http.createServer((request, response) => {
    seen.push(request.url);
    const url = new URL(request.url);
    request.pipe(http.request({ port: url.port, path: url.pathname + url.search, method: request.method, headers: request.headers, agent: false },
                              (answer) => { response.writeHead(answer.statusCode, answer.headers); answer.pipe(response); }));
  });
  proxy.on('connect', (request, socket) => { seen.push(`CONNECT ${request.url}`); socket.end('HTTP/1.1 403 Forbidden\r\n\r\n'); });
  t.after(() => proxy.close());
  await new Promise((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  const http_proxy = `http://127.0.0.1:${proxy.address().port}`;
  const past = await pull(['hf:org/one'], { http_proxy, NO_PROXY: 'example.com,127.0.0.1' });
  assert.deepEqual([past.code, seen], [0, []], past.err);
  const through = await pull(['hf:org/many:Q4_K_M'], { http_proxy, no_proxy: '' });
  assert.equal(through.code, 0, through.err);
  assert.ok(seen[0].startsWith(`${hub.url}/api/models/org/many/`));
  const refused = await pull(['https://hub.invalid/a.gguf', '--retries', '0'], { HTTPS_PROXY: http_proxy });
  assert.match(refused.err, /the proxy answered CONNECT hub.invalid:443 with HTTP\/1.1 403 Forbidden/);
}));

test('a model in an OCI layout, and file:', async () => withHub(async ({ cache, env }) => {
  const layout = path.join(cache, 'layout');
  mkdirSync(path.join(layout, 'blobs/sha256'), { recursive: true });
  const put = (data) => {
    const hex = createHash('sha256').update(data).digest('hex');
    writeFileSync(path.join(layout, 'blobs/sha256', hex), data);
    return { digest: `sha256:${hex}`, size: data.length };
  };
  const layer = { mediaType: 'application/octet-stream', annotations: { 'org.opencontainers.image.title': 'tiny-q8_0.gguf' }, ...put(model) };
  const manifest = put(Buffer.from(JSON.stringify({ schemaVersion: 2, layers: [{ mediaType: 'text/plain', ...put(config) }, layer] })));
  writeFileSync(path.join(layout, 'oci-layout'), '{"imageLayoutVersion": "1.0.0"}');
  writeFileSync(path.join(layout, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests: [manifest] }));
  const ask = async (source) => (await promisify(execFile)(nacelle, ['run', '--model', source, '--greedy', '--prompt', 'What is the capital of France?'], { env })).stdout.trim();
  assert.equal(await ask(layout), 'The capital of France is Paris.');
  assert.equal(await ask(`file:${path.join(root, 'models/demo/nacelle-demo-q8_0.gguf')}`), 'The capital of France is Paris.');
  writeFileSync(path.join(layout, 'blobs/sha256', layer.digest.slice(7)), 'short');
  await assert.rejects(ask(layout), /5 bytes, the manifest says 3766976/);
}));

test('health: a probe, and a question', async () => {
  const server = await Server.start();
  const health = (...args) => promisify(execFile)(nacelle, ['health', ...args]);
  const port = ['--port', String(server.port)];
  assert.match((await health('--host', '0.0.0.0', ...port)).stdout, /\/readyz: {"status": "ready"}\n$/);
  assert.match((await health('--live', ...port)).stdout, /\/livez: {"status": "live"}\n$/);
  const question = ['--url', server.url, '--ask', 'What is the capital of France?'];
  assert.equal((await health(...question, '--expect', 'Paris')).stdout, 'The capital of France is Paris.\n');
  await assert.rejects(health(...question, '--expect', 'Rome'), { code: 7, stderr: "nacelle: the answer has no 'Rome' in it\n" });
  await server.stop();
  await assert.rejects(health(...port), { code: 7, stderr: /cannot connect: Connection refused/ });
});
