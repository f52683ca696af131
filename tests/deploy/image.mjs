// usage: node image.mjs VENDOR
// What is in a built image, and whether it runs: as its user, with a read-only root, asked a question; then under a quota of
// 1.5 CPUs and 512 MB. `buildah run --isolation chroot` runs it, on this machine's network and without a daemon.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readdirSync, readlinkSync, rmdirSync, statSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import test, { after } from 'node:test';

const vendor = process.argv[2];
const image = `localhost/nacelle:${vendor}`;
const limits = { cpu: 100, vulkan: 300, cuda: 350 };  // MB, uncompressed
const buildah = (...args) => execFileSync('buildah', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] }).trim();
const container = buildah('from', image);
const root = buildah('mount', container);
after(() => buildah('rm', container));

const settings = JSON.parse(buildah('inspect', '--type', 'image', image)).Docker.config;
const files = (folder) => readdirSync(path.join(root, folder), { withFileTypes: true, recursive: true }).filter((entry) => !entry.isDirectory());
const say = (text) => console.log(`# ${text}`);

test('settings of the image', () => {
  assert.equal(settings.User, '65532:65532');
  assert.equal(settings.StopSignal, 'SIGTERM');
  assert.deepEqual(settings.Healthcheck.Test, ['CMD', '/usr/bin/nacelle', 'health']);
  assert.deepEqual([settings.Entrypoint, settings.Cmd], [['/usr/bin/nacelle'], ['serve']]);
  assert.ok(settings.Env.includes('NACELLE_HOST=0.0.0.0'));
  assert.deepEqual(Object.keys(settings.Volumes).toSorted(), ['/models', '/tmp']);
  assert.deepEqual(Object.keys(settings.ExposedPorts), ['8080/tcp']);
  for (const label of ['title', 'description', 'licenses', 'version', 'revision']) assert.ok(settings.Labels[`org.opencontainers.image.${label}`], label);
  assert.match(settings.Labels['org.opencontainers.image.revision'], /^[0-9a-f]{40}$/);
});

test('size, and nothing that is not needed', () => {
  let bytes = 0;
  const names = [];
  for (const entry of files('.')) {
    const file = path.join(entry.parentPath ?? entry.path, entry.name);
    if (entry.isFile()) bytes += statSync(file).size;
    names.push(path.relative(root, file));
  }
  say(`nacelle:${vendor} has ${(bytes / 1e6).toFixed(1)} MB uncompressed, in ${names.length} files`);
  if (limits[vendor]) assert.ok(bytes < limits[vendor] * 1e6, `${limits[vendor]} MB at most`);
  const programs = names.filter((name) => /(^|\/)s?bin\//.test(name));
  assert.deepEqual(programs, ['usr/bin/nacelle'], 'no shell, no compiler');
  for (const folder of ['models', 'tmp']) assert.ok(statSync(path.join(root, folder)).uid === 65532, folder);
  assert.ok(statSync(path.join(root, 'usr/lib/nacelle/plugins')).uid === 0);
  assert.ok(existsSync(path.join(root, 'etc/ssl/certs/ca-certificates.crt')));
});

test('the list of its parts (SPDX)', () => {
  const sbom = JSON.parse(readFileSync(path.join(root, 'usr/share/doc/nacelle/sbom.spdx.json')));
  assert.equal(sbom.spdxVersion, 'SPDX-2.3');
  const names = sbom.packages.map((one) => one.name);
  for (const name of ['nacelle', 'libc6', 'libssl3', 'libstdc++6', 'libboost1.81-dev', 'nlohmann-json3-dev', 'libyaml-cpp-dev']) assert.ok(names.includes(name), name);
  const ids = new Set(sbom.packages.map((one) => one.SPDXID));
  assert.equal(ids.size, sbom.packages.length);
  for (const { relatedSpdxElement } of sbom.relationships) assert.ok(ids.has(relatedSpdxElement));
  for (const one of sbom.packages.slice(1)) {
    assert.ok(one.versionInfo && one.externalRefs[0].referenceLocator.startsWith('pkg:deb/debian/'), one.name);
    if (sbom.relationships.some((link) => link.relatedSpdxElement === one.SPDXID && link.relationshipType === 'DYNAMIC_LINK'))
      assert.ok(existsSync(path.join(root, 'usr/share/doc', one.name, 'copyright')) || one.name.startsWith('gcc') || one.name.startsWith('lib'), one.name);
  }
  say(`the SBOM lists ${sbom.packages.length - 1} Debian packages`);
});

// `before` runs in a shell that then becomes buildah: to enter a cgroup.
function run(args, { before = ':', env = [] } = {}) {
  const command = ['run', '--isolation', 'chroot', '--user', settings.User, ...env.flatMap((one) => ['--env', one]), container, '--', '/usr/bin/nacelle', ...args];
  const child = spawn('sh', ['-c', `${before}; exec buildah "$@"`, 'sh', ...command], { stdio: ['ignore', 'pipe', 'pipe'] });
  const result = { child, out: '', err: '' };
  child.stdout.on('data', (data) => { result.out += data; });
  child.stderr.on('data', (data) => { result.err += data; });
  result.done = new Promise((resolve) => child.on('close', (code) => resolve(code)));
  return result;
}

async function output(args, options) {
  const one = run(args, options);
  assert.equal(await one.done, 0, one.err);
  return one.out;
}

const freePort = () => new Promise((resolve) => {
  const listener = net.createServer().listen(0, '127.0.0.1', () => { const { port } = listener.address(); listener.close(() => resolve(port)); });
});

// The program itself, among the children of buildah.
function pidOf(parent) {
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      const ancestor = Number(readFileSync(`/proc/${pid}/stat`, 'utf8').match(/\) \S (\d+)/)[1]);
      if (ancestor !== parent) continue;
      if (readlinkSync(`/proc/${pid}/exe`).endsWith('/usr/bin/nacelle')) return Number(pid);
      const found = pidOf(Number(pid));
      if (found) return found;
    } catch { /* it has ended */ }
  }
  return 0;
}

async function withServer(options, use) {
  const port = await freePort();
  const server = run(['serve'], { ...options, env: [`NACELLE_PORT=${port}`, 'NACELLE_MANAGE_PORT=off', ...options.env ?? []] });
  await new Promise((resolve, reject) => {
    server.child.stdout.on('data', () => { if (server.out.includes('ready on')) resolve(); });
    server.done.then(() => reject(new Error(server.err)));
  });
  try { return await use(`http://127.0.0.1:${port}`, port); } finally {
    process.kill(pidOf(server.child.pid), 'SIGTERM');
    assert.equal(await server.done, 0, server.err);
  }
}

test('it answers, and its health check says so', async () => withServer({}, async (url, port) => {
  const answer = await (await fetch(`${url}/v1/chat/completions`, { method: 'POST', headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ messages: [{ role: 'user', content: 'What is the capital of France?' }], temperature: 0 }) })).json();
  say(`asked the capital of France: ${answer.choices[0].message.content}`);
  assert.match(answer.choices[0].message.content, /Paris/);
  assert.match(await output(['health'], { env: [`NACELLE_PORT=${port}`] }), /readyz: {"status": "ready"}/);
  const metrics = await (await fetch(`${url}/metrics`)).text();
  if (['cpu', 'vulkan'].includes(vendor)) assert.match(metrics, new RegExp(`nacelle_model_info{[^}]*placement="${vendor}`));
}));

const v1 = (controller, name) => path.join('/sys/fs/cgroup', controller, name);
const canLimit = existsSync('/sys/fs/cgroup/cpu/cpu.cfs_quota_us') && existsSync('/sys/fs/cgroup/memory/memory.limit_in_bytes');

test('1.5 CPUs and 512 MB: what it chooses, and how fast it is', { skip: vendor !== 'cpu' ? 'for the CPU image' : canLimit ? false : 'needs cgroup v1 that may be written' }, async () => {
  const name = `nacelle-image-${process.pid}`;
  for (const controller of ['cpu', 'memory']) mkdirSync(v1(controller, name));
  writeFileSync(path.join(v1('cpu', name), 'cpu.cfs_period_us'), '100000');
  writeFileSync(path.join(v1('cpu', name), 'cpu.cfs_quota_us'), '150000');
  writeFileSync(path.join(v1('memory', name), 'memory.limit_in_bytes'), String(512 << 20));
  const before = ['cpu', 'memory'].map((controller) => `echo $$ >${v1(controller, name)}/cgroup.procs`).join('; ');
  try {
    const [cpu] = JSON.parse(await output(['devices', '--json'], { before })).filter((device) => device.name === 'cpu');
    say(`under the quota: ${cpu.detail}, ${(cpu.memory_total / (1 << 20)).toFixed(0)} MiB`);
    assert.match(cpu.detail, /\b1 thread/);
    assert.equal(cpu.memory_total, 512 << 20);
    const bench = async (threads, options) => JSON.parse(await output(['bench', '--json', '--prompt', '64', '--gen', '512', '--repeat', '1', ...threads], options)).tg_tps;
    const turns = { limited: [], free: [] };  // in turns, for a neighbour may take either
    for (let i = 0; i < 5; ++i) {
      turns.limited.push(await bench([], { before }));
      turns.free.push(await bench(['--threads', '1']));
    }
    const median = (values) => values.toSorted((x, y) => x - y)[Math.floor(values.length / 2)];
    const [limited, free] = [median(turns.limited), median(turns.free)];
    say(`tokens/s under the quota ${limited.toFixed(0)}, with one thread and no quota ${free.toFixed(0)}: ${(100 * limited / free).toFixed(0)} %`);
    assert.ok(limited > 0.6 * free, 'a quota that is not kept costs far more');
    await withServer({ before }, async (url) => assert.equal((await fetch(`${url}/readyz`)).status, 200));
  } finally {
    for (const controller of ['cpu', 'memory']) rmdirSync(v1(controller, name));
  }
});
