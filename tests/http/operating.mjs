// What operators use: the management listener, API keys, TLS, request ids, settings, /openapi.json.
import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import https from 'node:https';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { promisify } from 'node:util';
import { Server, eventually, freePort, model, paris, root, server } from './harness.mjs';

const nacelle = process.env.NACELLE;
const run = promisify(execFile);
const file = path.join(root, 'models/demo/nacelle-demo-q8_0.gguf');

// `use` gets a folder that is gone afterwards.
async function withFolder(use) {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'nacelle-'));
  try { await use(folder); } finally { rmSync(folder, { recursive: true }); }
}

async function withManaged(flags, use) {
  const port = await freePort();
  const managed = await Server.start('--manage-port', String(port), ...flags);
  try { await use(managed, `http://127.0.0.1:${port}`); } finally { await managed.stop(); }
}

test('models are loaded, moved and unloaded while traffic flows', async () => withManaged([], async (managed, url) => {
  const change = (verb, body) => managed.post(`/manage/models/${verb}`, body, { url });
  const ask = (name) => managed.client.chat.completions.create({ model: name, messages: paris, temperature: 0, max_tokens: 20 });
  let asking = true;
  let answers = 0;
  const traffic = [1, 2].map(async () => {
    for (; asking; ++answers) assert.equal((await ask(model)).choices[0].message.content, 'The capital of France is Paris.');
  });

  const loaded = await change('load', { name: 'second', path: file });
  assert.equal(loaded.status, 200, JSON.stringify(loaded.body));
  assert.deepEqual(loaded.body.models.map((one) => one.name), [model, 'second']);
  assert.deepEqual(loaded.body.changes, [], 'what is answered is over');
  assert.equal((await ask('second')).choices[0].message.content, 'The capital of France is Paris.');
  assert.equal((await change('load', { name: 'second', path: file })).status, 409);
  assert.equal((await change('load', { name: 'third', path: '/no/such/file.gguf' })).status, 404);
  const { changes } = await (await fetch(`${url}/manage/models`)).json();
  assert.deepEqual(changes.map(({ name, state }) => [name, state]), [['second', 'failed'], ['third', 'failed']]);

  const moved = await change('move', { model, device: 'reference' });
  assert.equal(moved.status, 200, JSON.stringify(moved.body));
  assert.equal(moved.body.models[0].placement[0].device, 'reference');
  await eventually(() => answers > 0);
  asking = false;
  await Promise.all(traffic);

  // An answer under way is finished; a new request does not find the model.
  const stream = await managed.client.chat.completions.create({ model: 'second', messages: paris, ignore_eos: true, stream: true });
  let unloaded;
  let finish;
  for await (const chunk of stream) {
    unloaded ??= change('unload', { model: 'second' });
    finish = chunk.choices[0].finish_reason ?? finish;
  }
  assert.equal(finish, 'length');
  assert.deepEqual((await unloaded).body.models.map((one) => one.name), [model]);
  await assert.rejects(ask('second'), { status: 404, code: 'model_not_found' });

  // With no time to drain, it is cut.
  assert.equal((await change('load', { name: 'second', path: file })).status, 200);
  const cut = await managed.client.chat.completions.create({ model: 'second', messages: paris, ignore_eos: true, stream: true });
  await assert.rejects(async () => {
    for await (const chunk of cut) unloaded = change('unload', { model: 'second', drain_seconds: 0 });
  });
  await unloaded;
  assert.equal((await change('unload', { model: 'second' })).status, 404);

  assert.equal((await change('unload', { model, wait: false })).status, 202);
  await eventually(async () => (await managed.get('/readyz')).status === 503);
  assert.deepEqual(await (await managed.get('/readyz')).json(), { status: 'no model' });
  await assert.rejects(ask('default'), { status: 503, code: 'no_model' });
  assert.equal((await change('load', {})).status, 200);
  assert.equal((await managed.get('/readyz')).status, 200);
}));

test('devices, plugins, kernels; bad requests and pages of browsers', async () => withManaged([], async (managed, url) => {
  const get = async (target) => (await fetch(url + target)).json();
  assert.ok((await get('/manage/devices')).devices.some((device) => device.name === 'cpu' && device.memory_total > 0));
  assert.ok((await get('/manage/plugins')).plugins.some((plugin) => plugin.name === 'llama' && plugin.status === 'loaded'));
  const { kernels } = await get(`/manage/kernels/${model}`);
  assert.ok(kernels.some((kernel) => kernel.op === 'matmul' && kernel.state === 'selected'));
  for (const [verb, body, param] of [['load', { nmae: 'x' }, 'nmae'], ['unload', {}, 'model'], ['move', { model }, 'device'],
                                     ['load', { device: 'cpu', split: 'cpu=1' }, 'split']]) {
    const answer = await managed.post(`/manage/models/${verb}`, body, { url });
    assert.deepEqual([answer.status, answer.body.error.param], [400, param]);
  }
  const status = async (headers) => (await managed.post('/manage/models/unload', { model: 'none' }, { url, headers })).status;
  assert.equal(await status({}), 404);
  assert.equal(await status({ Origin: url }), 404);
  assert.equal(await status({ Origin: 'http://evil.example' }), 403);
  const raw = await new Promise((resolve) => {
    const socket = net.connect(new URL(url).port, '127.0.0.1', () => socket.end('GET /manage/models HTTP/1.1\r\nHost: evil.example:8081\r\n\r\n'));
    let text = '';
    socket.on('data', (data) => { text += data; }).on('close', () => resolve(text));
  });
  assert.match(raw, /^HTTP\/1.1 403 /);
  assert.equal((await managed.get('/manage/models')).status, 404, 'not on the public listener');
}));

test('a management address that others reach needs keys', async () => {
  await assert.rejects(Server.start('--manage-port', '1', '--manage-host', '0.0.0.0'), /--api-keys/);
});

test('API keys: 401, 403, roles, and a file that changes', async () => withFolder(async (folder) => {
  const key = async (...args) => JSON.parse((await run(nacelle, ['key', 'new', ...args, '--json'])).stdout);
  const [user, admin] = [await key('ann'), await key('root', '--role', 'manage')];
  assert.match(user.key, /^nk-[\w-]{43}$/);
  assert.match(user.line, /^ann:infer:[0-9a-f]{64}$/);
  const keys = path.join(folder, 'keys');
  writeFileSync(keys, `# who may\n${user.line}\n\n${admin.line}  # the boss\n`);
  await withManaged(['--api-keys', keys], async (managed, url) => {
    const models = async (text, base = managed.url, target = '/v1/models') =>
      fetch(base + target, { headers: text ? { Authorization: `Bearer ${text}` } : {} });
    for (const open of ['/livez', '/readyz', '/metrics', '/version', '/openapi.json']) {
      assert.equal((await managed.get(open)).status, 200, open);
    }
    assert.equal((await models('')).status, 401);
    const wrong = await models(`${user.key}x`);
    assert.equal(wrong.status, 401);
    assert.equal(wrong.headers.get('www-authenticate'), 'Bearer');
    assert.equal((await wrong.json()).error.code, 'invalid_api_key');
    assert.equal((await models(user.key)).status, 200);
    assert.equal((await models(admin.key)).status, 200);
    assert.equal((await managed.get('/v1/models', { 'X-Api-Key': user.key })).status, 200);
    assert.equal((await models(user.key, url, '/manage/models')).status, 403);
    assert.equal((await models(admin.key, url, '/manage/models')).status, 200);
    // A body is not read for somebody unknown.
    assert.match(await managed.raw('POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n'), /^HTTP\/1.1 401 /);

    // What one key made no other finds.
    const ask = async (text, body) => fetch(`${managed.url}/v1/responses`, {
      method: 'POST', headers: { Authorization: `Bearer ${text}`, 'Content-Type': 'application/json' },
      body: JSON.stringify({ input: 'Hello', max_output_tokens: 2, ...body }),
    });
    const made = await (await ask(user.key, {})).json();
    const kept = `/v1/responses/${made.id}`;
    assert.equal((await models(admin.key, managed.url, kept)).status, 404);
    assert.equal((await models(user.key, managed.url, kept)).status, 200);
    const stolen = await ask(admin.key, { previous_response_id: made.id });
    assert.equal(stolen.status, 400);
    assert.equal((await stolen.json()).error.code, 'previous_response_not_found');
    assert.equal((await ask(user.key, { previous_response_id: made.id })).status, 200);

    managed.client.apiKey = user.key;
    await managed.client.chat.completions.create({ model, messages: paris, max_tokens: 1 });
    await eventually(() => /request method=POST path=\/v1\/chat\/completions status=200 .*client=ann/.test(managed.log));

    const replace = (text) => { writeFileSync(`${keys}.new`, text); renameSync(`${keys}.new`, keys); };
    replace('nonsense\n');
    await eventually(async () => (await models(user.key)).status === 200 && managed.log.includes('the former keys stay valid'));
    replace(`${admin.line}\n`);
    await eventually(async () => (await models(user.key)).status === 401);
    assert.equal((await models(admin.key)).status, 200);
  });
  writeFileSync(keys, 'ann:infer\n');
  await assert.rejects(Server.start('--api-keys', keys), /keys:1: expected NAME:ROLE:HASH/);
  await assert.rejects(run(nacelle, ['key', 'new', 'a:b']), /exactly|expected NAME/);
}));

test('TLS, and a certificate that changes', async () => withFolder(async (folder) => {
  const [cert, key] = ['cert.pem', 'key.pem'].map((name) => path.join(folder, name));
  const issue = (name, to = '') => execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256',
    '-nodes', '-days', '2', '-subj', `/CN=${name}`, '-keyout', key + to, '-out', cert + to], { stdio: 'ignore' });
  issue('first');
  const secure = await Server.start('--tls-cert', cert, '--tls-key', key);
  const request = (target, body) => new Promise((resolve, reject) => {
    const sent = https.request(secure.url + target, { method: body ? 'POST' : 'GET', rejectUnauthorized: false, agent: false }, (response) => {
      const subject = response.socket.getPeerCertificate().subject.CN;
      let text = '';
      response.on('data', (data) => { text += data; }).on('end', () => resolve({ status: response.statusCode, text, subject }));
    }).on('error', reject);
    sent.end(body);
  });
  try {
    assert.match(secure.url, /^https:/);
    assert.deepEqual(await request('/livez'), { status: 200, text: '{"status": "live"}', subject: 'first' });
    // More than a record in both directions, and a stream.
    const content = 'word '.repeat(20000);
    const tokens = await request('/tokenize', JSON.stringify({ content, with_pieces: true }));
    assert.ok(JSON.parse(tokens.text).count >= 20000);
    const streamed = await request('/v1/chat/completions', JSON.stringify({ messages: paris, temperature: 0, stream: true }));
    assert.match(streamed.text, /Paris[\s\S]*data: \[DONE\]/);
    // Clear text on the port is told what is spoken there, and harms nobody.
    const told = await secure.raw('GET /livez HTTP/1.1\r\n\r\n');
    assert.match(told, /^HTTP\/1\.1 400 [\s\S]*"message":"this port speaks HTTPS alone: the address must begin with https:\/\/"/);
    await secure.raw('nonsense\r\n\r\n', 300);

    // A client that leaves is noticed through TLS too.
    const left = https.request(`${secure.url}/v1/chat/completions`, { method: 'POST', rejectUnauthorized: false, agent: false },
                               (response) => response.once('data', () => left.destroy()));
    left.on('error', () => {}).end(JSON.stringify({ messages: paris, ignore_eos: true, stream: true }));
    await eventually(() => secure.log.includes('status=499'));

    issue('second', '.new');
    renameSync(`${key}.new`, key);
    renameSync(`${cert}.new`, cert);
    secure.process.kill('SIGHUP');
    await eventually(async () => (await request('/livez')).subject === 'second');
    writeFileSync(cert, 'nonsense');
    await eventually(async () => (await request('/livez')).subject === 'second' && secure.log.includes('the former certificate stays in use'));
  } finally {
    await secure.stop();
  }
  await assert.rejects(Server.start('--tls-cert', cert), /go together/);
  await assert.rejects(Server.start('--tls-cert', cert, '--tls-key', key), /no certificate in PEM/);
}));

test('request ids and traces', async () => {
  const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
  const response = await server.get('/v1/models', { 'X-Request-Id': 'abc-123', traceparent });
  assert.equal(response.headers.get('x-request-id'), 'abc-123');
  await eventually(() => server.log.includes('path=/v1/models status=200') && server.log.includes('id=abc-123 trace=4bf92f3577b34da6a3ce929d0e0e4736'));
  const own = (await server.get('/v1/models', { 'X-Request-Id': 'two words' })).headers.get('x-request-id');
  assert.match(own, /^req-[0-9a-f]{16}$/);
  assert.match((await server.get('/no/such')).headers.get('x-request-id'), /^req-/);
});

test('CORS is off until a site is named', async () => {
  assert.equal((await server.get('/v1/models')).headers.get('access-control-allow-origin'), null);
  const open = await Server.start('--cors-origin', 'https://app.example');
  try {
    const preflight = await fetch(`${open.url}/v1/chat/completions`, { method: 'OPTIONS' });
    assert.equal(preflight.status, 204);
    assert.match(preflight.headers.get('access-control-allow-headers'), /Authorization.*, \*$/);  // x-stainless-... too
    assert.equal((await open.get('/v1/models')).headers.get('access-control-allow-origin'), 'https://app.example');
  } finally {
    await open.stop();
  }
});

test('settings: file, environment, flags, and where each comes from', async () => withFolder(async (folder) => {
  const config = path.join(folder, 'nacelle.yaml');
  const settings = async (args, env = {}) => {
    const { stdout } = await run(nacelle, ['config', '--config', config, '--format', 'json', ...args], { env: { ...process.env, ...env } });
    return Object.fromEntries(JSON.parse(stdout).map(({ name, values, source }) => [name, [values.join(' '), source]]));
  };
  writeFileSync(config, 'port: 1\nhost: 0.0.0.0\nmax-queue: 7\nmodel: [a=/x, b=/y]\nplugin-config: {k: v}\npin-threads: true\nidle-timeout: 3\n');
  const found = await settings(['--port', '3'], { NACELLE_PORT: '2', NACELLE_HOST: '::1' });
  assert.deepEqual(found.port, ['3', 'flag']);
  assert.deepEqual(found.host, ['::1', 'NACELLE_HOST']);
  assert.deepEqual(found['max-queue'], ['7', `${config}:3`]);
  assert.deepEqual(found.model, ['a=/x b=/y', `${config}:4`]);
  assert.deepEqual(found['plugin-config'], ['k=v', `${config}:5`]);
  assert.deepEqual(found['pin-threads'], ['true', `${config}:6`]);
  assert.deepEqual(found['header-timeout'], ['10', 'default']);
  assert.deepEqual((await settings([], { NACELLE_PORT: 'tcp://10.0.0.1:80' })).port, ['1', `${config}:1`], 'Kubernetes\' own variable');
  assert.deepEqual((await settings([], { NACELLE_MANAGE_PORT: 'tcp://10.0.0.1:81' }))['manage-port'], ['8081', 'default'], 'another one');

  // Kubernetes' variables of a service are others' business; a slip is told, and the rest counts.
  const slip = { NACELLE_MAX_QUEU: '9', NACELLE_SERVICE_HOST: '10.0.0.1', NACELLE_PORT_8080_TCP: 'tcp://10.0.0.1:8080' };
  const { stderr } = await run(nacelle, ['config', '--config', config], { env: { ...process.env, ...slip } });
  assert.equal(stderr, 'nacelle: warning: the variable NACELLE_MAX_QUEU is no setting; did you mean NACELLE_MAX_QUEUE?\n');

  // What it prints is a file again, with the same settings.
  const printed = (await run(nacelle, ['config', '--config', config])).stdout;
  writeFileSync(config, printed);
  assert.equal((await settings([])).model[0], 'a=/x b=/y');

  for (const [text, fault] of [['prot: 1', /:1: there is no setting 'prot' of 'config'; did you mean 'port'\?/], ['\nport: many', /:2: .*port/i],
                               ['port: [1, 2]', /:1: port: expected one value, not 2/],
                               ['port: [', /not YAML/], ['- a', /expected lines/], ['device: cpu\nsplit: cpu=1', /exclude each other/],
                               ['port: 1\n---\nport: 2', /:3: a second document/],
                               ['idle-timeout: -1', /:1: .*expected more than 0 and at most 86400 seconds, not -1/]]) {
    writeFileSync(config, text);
    await assert.rejects(settings([]), fault, text);
  }
  writeFileSync(config, 'split: cpu=1');
  assert.deepEqual((await settings(['--device', 'cpu'])).split, ['', 'default'], 'the stronger of two that exclude each other');
}));

test('docs/settings.md is the program\'s own table', async () => {
  const { stdout } = await run(nacelle, ['config', '--format', 'markdown'], { env: { PATH: process.env.PATH } });
  assert.ok(readFileSync(path.join(root, 'docs/settings.md'), 'utf8').endsWith(stdout), 'run: nacelle config --format markdown');
});

test('/openapi.json describes what each listener has', async () => withManaged([], async (managed, url) => {
  const paths = async (base) => {
    const document = await (await fetch(`${base}/openapi.json`)).json();
    assert.match(document.info.version, /^\d+\.\d+\.\d+$/);
    const refs = [...JSON.stringify(document).matchAll(/"#\/components\/(\w+)\/(\w+)"/g)];
    for (const [, kind, name] of refs) assert.ok(document.components[kind][name], name);
    return document.paths;
  };
  const [open, manage] = [await paths(managed.url), await paths(url)];
  assert.ok(open['/v1/chat/completions'] && !open['/manage/models'] && manage['/manage/models'] && !manage['/v1/chat/completions']);
  for (const [base, described] of [[managed.url, open], [url, manage]]) {
    for (const [target, methods] of Object.entries(described)) {
      const allow = (await fetch(base + target.replace(/\{[^}]*\}/g, 'x'), { method: 'OPTIONS' })).headers.get('allow') ?? '';
      for (const method of Object.keys(methods)) assert.ok(allow.includes(method.toUpperCase()), `${method} ${target}`);
      // What a body is said to have, the route knows: whatever else is wrong, the name is not. '~' comes behind all names.
      const schema = methods.post?.requestBody?.content['application/json'].schema;
      if (!schema) continue;
      const { components } = await (await fetch(`${base}/openapi.json`)).json();
      const { properties } = schema.$ref ? components.schemas[schema.$ref.split('/').at(-1)] : schema;
      const ask = async (body) => {
        const { body: { error } } = await managed.post(target.replace(/\{[^}]*\}/g, 'x'), { ...body, '~': 1 }, { url: base });
        return error.message ?? error;
      };
      assert.match(await ask({}), /there is no field '~'/, target);
      for (const name of Object.keys(properties)) assert.ok(!(await ask({ [name]: 'x' })).startsWith(`there is no field '${name}'`), `${target}: ${name}`);
    }
  }
}));
