// usage: node image.mjs VENDOR [IMAGE [--untimed]]
// What is in a built image, and whether it runs as a container does: as its user, without rights, its root read-only but for
// /models and /tmp; asked a question; then under a quota of 1.5 CPUs and 512 MB. No daemon: the image's files are mounted in a
// mount namespace of their own. --untimed leaves out what measures speed.
import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, rmdirSync, statSync, writeFileSync, chownSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { freePort } from '../support/server.mjs';

const vendor = process.argv[2];
const image = process.argv[3] ?? `localhost/nacelle:${vendor}`;
const untimed = process.argv[4] === '--untimed';
const limits = { cpu: 100, vulkan: 300, cuda: 350 };  // MB, uncompressed
const loaderAlone = 100;  // of the Vulkan image without drivers
const buildah = (...args) => execFileSync('buildah', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] }).trim();
const container = buildah('from', '--pull-never', image);
const root = buildah('mount', container);
const models = mkdtempSync(path.join(os.tmpdir(), 'nacelle-models-'));
process.on('exit', () => { buildah('rm', container); rmSync(models, { recursive: true }); });

const settings = JSON.parse(buildah('inspect', '--type', 'image', image)).Docker.config;
const files = (folder) => readdirSync(path.join(root, folder), { withFileTypes: true, recursive: true }).filter((entry) => !entry.isDirectory());
const say = (text) => console.log(`# ${text}`);
const hasDrivers = existsSync(path.join(root, 'usr/share/vulkan/icd.d'));

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
  const hasBlas = names.some((name) => name.includes('libcublas'));
  const limit = vendor === 'vulkan' && !hasDrivers ? loaderAlone : hasBlas ? undefined : limits[vendor];
  if (limit) assert.ok(bytes < limit * 1e6, `${limit} MB at most`);
  const programs = names.filter((name) => /(^|\/)s?bin\//.test(name));
  assert.deepEqual(programs, ['usr/bin/nacelle'], 'no shell, no compiler');
  // Opened by name at run time, in part by other libraries, so no linker misses them.
  for (const library of { vulkan: ['libvulkan.so.1'], rocm: ['libamdhip64.so.5', 'libamd_comgr.so.2'] }[vendor] ?? []) assert.ok(names.some((name) => name.endsWith(`/${library}`)), library);
  for (const folder of ['models', 'tmp']) assert.ok(statSync(path.join(root, folder)).uid === 65532, folder);
  assert.ok(statSync(path.join(root, 'usr/lib/nacelle/plugins')).uid === 0);
  assert.ok(existsSync(path.join(root, 'etc/ssl/certs/ca-certificates.crt')));
});

test('the list of its parts (SPDX)', () => {
  const sbom = JSON.parse(readFileSync(path.join(root, 'usr/share/doc/nacelle/sbom.spdx.json')));
  assert.equal(sbom.spdxVersion, 'SPDX-2.3');
  const names = sbom.packages.map((one) => one.name);
  for (const name of ['nacelle', 'libc6', 'libssl3', 'libstdc++6', 'libboost1.81-dev', 'nlohmann-json3-dev', 'libyaml-cpp-dev', ...vendor === 'cuda' ? ['cuda-cudart'] : []]) assert.ok(names.includes(name), name);
  const ids = new Set(sbom.packages.map((one) => one.SPDXID));
  assert.equal(ids.size, sbom.packages.length);
  for (const { relatedSpdxElement } of sbom.relationships) assert.ok(ids.has(relatedSpdxElement));
  for (const one of sbom.packages.slice(1)) {
    assert.ok(one.versionInfo && one.externalRefs[0].referenceLocator.startsWith(one.name === 'cuda-cudart' ? 'pkg:generic/' : 'pkg:deb/debian/'), one.name);
    if (sbom.relationships.some((link) => link.relatedSpdxElement === one.SPDXID && link.relationshipType === 'DYNAMIC_LINK'))
      assert.ok(existsSync(path.join(root, 'usr/share/doc', one.name, 'copyright')) || one.name.startsWith('gcc') || one.name.startsWith('lib'), one.name);
  }
  assert.ok(!names.includes('catch2'), 'what the tests alone need is not in the image');
  say(`the SBOM lists ${sbom.packages.length - 1} packages`);
});

// What a container runtime does: the places to write and the kernel's own file systems are mounted, then the root turns
// read-only, and the program gets the image's user and variables and nothing else.
const enter = `set -e
eval "$3"
mkdir -p "$1/proc" "$1/sys" "$1/dev"
mount --bind "$1" "$1"
mount --bind "$2" "$1/models"
mount -t tmpfs -o mode=1777 tmpfs "$1/tmp"
mount -t proc proc "$1/proc"
mount --rbind /sys "$1/sys"
mount --rbind /dev "$1/dev"
mount -o remount,bind,ro "$1"
root=$1
shift 3
exec setpriv --no-new-privs /usr/sbin/chroot --userspec=${settings.User} --groups= "$root" "$@"`;
chownSync(models, ...settings.User.split(':').map(Number));

// `before`: a line of shell, to enter a cgroup.
function run(args, { before = '', env = [] } = {}) {
  const variables = Object.fromEntries([...settings.Env, ...env].map((one) => one.split(/=(.*)/s).slice(0, 2)));
  const child = spawn('unshare', ['--mount', '--propagation', 'private', 'sh', '-c', enter, 'sh', root, models, before, ...settings.Entrypoint, ...args],
                      { env: variables, stdio: ['ignore', 'pipe', 'pipe'] });
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

// All is one process, from the shell to the server, so signals reach it.
async function withServer(options, use) {
  const port = await freePort();
  const began = performance.now();
  const server = run(settings.Cmd, { ...options, env: [`NACELLE_PORT=${port}`, 'NACELLE_MANAGE_PORT=off', ...options.env ?? []] });
  await new Promise((resolve, reject) => {
    server.child.stdout.on('data', () => { if (server.out.includes('ready on')) resolve(); });
    server.done.then(() => reject(new Error(server.err)));
  });
  say(`ready after ${(performance.now() - began).toFixed(0)} ms`);
  try { await use(`http://127.0.0.1:${port}`, port, server.child.pid); } finally {
    process.kill(server.child.pid, settings.StopSignal);
    assert.equal(await server.done, 0, server.err);
  }
}

async function ask(url) {
  const answer = await (await fetch(`${url}/v1/chat/completions`, { method: 'POST', headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ messages: [{ role: 'user', content: 'What is the capital of France?' }], temperature: 0 }) })).json();
  say(`asked the capital of France: ${answer.choices[0].message.content}`);
  assert.match(answer.choices[0].message.content, /Paris/);
}

const device = vendor === 'cpu' ? 'cpu' : settings.Env.find((one) => one.startsWith('NACELLE_DEVICE=')).split('=')[1];
const devices = JSON.parse(await output(['devices', '--json']));
const isHere = devices.some(({ backend, status }) => backend === device && status === 'available');

test('without its device it says so and ends', { skip: isHere ? `${device} is here` : false }, async () => {
  const server = run(settings.Cmd);
  assert.notEqual(await server.done, 0);
  say(server.err.trim().split('\n').pop());
  assert.match(server.err, new RegExp(device));
});

test(isHere ? 'it answers, and its health check says so' : 'asked to, it answers on the CPU', async () => withServer({ env: isHere ? [] : ['NACELLE_DEVICE=cpu'] }, async (url, port, pid) => {
  await ask(url);
  assert.match(await output(settings.Healthcheck.Test.slice(2), { env: [`NACELLE_PORT=${port}`] }), /readyz: {"status": "ready"}/);
  const metrics = await (await fetch(`${url}/metrics`)).text();
  const [placement] = metrics.match(/nacelle_model_info{[^}]*}/);
  say(placement);
  const [runs, usable] = [isHere ? device : 'cpu', metrics.match(/nacelle_device_memory_total_bytes{[^}]*}/g)];
  say(usable.join(', '));
  assert.match(placement, new RegExp(`placement="${runs}[":]`));
  assert.ok(usable.some((line) => line.includes(`device="${runs}`)), usable);

  // Who it is, and where it can write.
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  for (const line of ['Uid:\t65532\t65532\t65532\t65532', 'Gid:\t65532\t65532\t65532\t65532', 'CapEff:\t0000000000000000', 'CapPrm:\t0000000000000000', 'NoNewPrivs:\t1']) assert.ok(status.includes(line), line);
  const mounts = readFileSync(`/proc/${pid}/mountinfo`, 'utf8').trim().split('\n').map((line) => line.split(' ')).map(([, , , , place, options]) => [place, options.split(',')[0]]);
  assert.equal(mounts.find(([place]) => place === '/')[1], 'ro');
  const writable = mounts.filter(([place, how]) => how === 'rw' && !/^\/(proc|sys|dev)(\/|$)/.test(place)).map(([place]) => place);
  assert.deepEqual(writable.toSorted(), ['/models', '/tmp']);
  const touch = (file) => spawnSync('nsenter', ['--mount', `--target=${pid}`, 'touch', path.join(root, file)], { encoding: 'utf8' }).stderr.trim();
  assert.match(touch('usr/lib/nacelle/plugins/x'), /Read-only file system/, 'even root cannot');
  assert.equal(touch('tmp/x'), '');
}));

const cpuOf = async (options) => JSON.parse(await output(['devices', '--json'], options)).find(({ name }) => name === 'cpu');

test('threads follow the set of CPUs', async () => {
  const { detail } = await cpuOf({ before: 'taskset -pc 0 $$ >/dev/null' });
  assert.match(detail, /\b1 thread\b/);
});

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
    const cpu = await cpuOf({ before });
    say(`under the quota: ${cpu.detail}, ${(cpu.memory_total / (1 << 20)).toFixed(0)} MiB`);
    assert.match(cpu.detail, /\b1 thread/);
    assert.equal(cpu.memory_total, 512 << 20);
    await withServer({ before }, ask);
    if (untimed) return;
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
  } finally {
    for (const controller of ['cpu', 'memory']) rmdirSync(v1(controller, name));
  }
});
