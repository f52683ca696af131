// What docker/compose.monitoring.yaml shows, for real: Prometheus with its configuration and the alerts, beside a server under
// load, is asked every question of the dashboard, as Grafana would ask it; each has an answer in numbers.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { Server, eventually, freePort, model } from '../support/server.mjs';
import { program, require, root } from './chart_render.mjs';

const YAML = require('yaml');
const read = (name) => readFileSync(path.join(root, name), 'utf8');
const found = (name) => [path.join(root, 'build', name), ...process.env.PATH.split(':').map((folder) => path.join(folder, name))].find((file) => existsSync(file));
const prometheus = found('prometheus'), promtool = found('promtool');
const skip = program && prometheus && promtool ? false : 'needs build/release/bin/nacelle, and prometheus and promtool (Debian\'s package prometheus)';
process.env.NACELLE ??= program;

const compose = YAML.parse(read('docker/compose.monitoring.yaml'));
// Where a service finds the file of the tree that it is given.
const seen = (service, file) => compose.services[service].volumes.find((volume) => path.join('docker', volume.split(':')[0]) === file).split(':')[1];

test('services know each other by the names that they have', () => {
  const [source] = YAML.parse(read('docker/monitoring/grafana-datasources.yaml')).datasources;
  assert.ok(compose.services[new URL(source.url).hostname], source.url);
  const config = YAML.parse(read('docker/monitoring/prometheus.yaml'));
  for (const target of config.scrape_configs[0].static_configs[0].targets) assert.ok(compose.services[target.split(':')[0]], target);
  assert.ok(compose.services.prometheus.command.includes(`--config.file=${seen('prometheus', 'docker/monitoring/prometheus.yaml')}`));
  assert.deepEqual(config.rule_files, [seen('prometheus', 'docs/monitoring/alerts.yaml')]);
  const [provider] = YAML.parse(read('docker/monitoring/grafana-dashboards.yaml')).providers;
  assert.equal(path.dirname(seen('grafana', 'docs/monitoring/dashboard.json')), provider.options.path);
});

// Long and short, streamed and not, some of one beginning, one that nobody waits for and one that is wrong.
async function load(server) {
  const ask = (body, options) => fetch(`${server.url}/v1/chat/completions`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body), ...options });
  const one = async (i) => {
    const content = i % 2 ? 'What is the capital of France?' : `Say it ${i} times again and again: one two three one two three one two three`;
    const answer = await ask({ model, messages: [{ role: 'user', content }], max_tokens: 40, ignore_eos: i % 3 === 0, stream: i % 2 === 0 });
    await answer.text();
  };
  await Promise.all(Array.from({ length: 6 }, (_, i) => one(i)));
  await ask({ model, messages: [{ role: 'user', content: 'x' }], max_tokens: 400, ignore_eos: true, stream: true }, { signal: AbortSignal.timeout(50) }).then((answer) => answer.text()).catch(() => {});
  await ask({ model: 'other', messages: [] });
}

test('every panel has an answer under load', { skip, timeout: 120_000 }, async () => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'nacelle-monitoring-'));
  const server = await Server.start('--max-sequences', '4', '--device', 'cpu');
  const port = await freePort();
  const config = path.join(folder, 'prometheus.yaml');
  writeFileSync(config, read('docker/monitoring/prometheus.yaml').replace('nacelle:8080', `127.0.0.1:${server.port}`)
    .replace('/etc/prometheus/alerts.yaml', path.join(root, 'docs/monitoring/alerts.yaml')).replaceAll('5s', '1s'));
  const checked = spawnSync(promtool, ['check', 'config', config], { encoding: 'utf8' });
  assert.equal(checked.status, 0, checked.stdout + checked.stderr);
  const watcher = spawn(prometheus, [`--config.file=${config}`, `--storage.tsdb.path=${folder}/data`, `--web.listen-address=127.0.0.1:${port}`], { stdio: ['ignore', 'ignore', 'pipe'] });
  let log = '';
  watcher.stderr.on('data', (data) => { log += data; });
  const ended = new Promise((resolve) => watcher.on('exit', resolve));
  const get = async (target) => {
    const answer = await (await fetch(`http://127.0.0.1:${port}/api/v1/${target}`)).json();
    assert.equal(answer.status, 'success', JSON.stringify(answer));
    return answer.data;
  };
  let stop = false;
  const traffic = (async () => { while (!stop) await load(server); })();
  try {
    await eventually(() => { assert.equal(watcher.exitCode, null, log); return fetch(`http://127.0.0.1:${port}/-/ready`).then(({ ok }) => ok, () => false); });
    await eventually(async () => (await get('query?query=count_over_time(nacelle_build_info[1m])')).result[0]?.value[1] >= 6);
    const { panels, templating } = JSON.parse(read('docs/monitoring/dashboard.json'));
    // As Grafana fills them in: all models, and four times the scrape interval.
    const [, metric, label] = templating.list.find(({ name }) => name === 'model').query.match(/^label_values\((\w+), (\w+)\)$/);
    const models = await get(`label/${label}/values?match[]=${metric}`);
    assert.deepEqual(models, [model]);
    const deadline = performance.now() + 60_000;
    let questions = 0;
    for (const { title, targets } of panels) for (const { expr } of targets) {
      const query = expr.replaceAll('$model', `(${models.join('|')})`).replaceAll('$__rate_interval', '4s');
      let result;
      await eventually(async () => {  // a rate is no number while nothing happened
        ({ result } = await get(`query?query=${encodeURIComponent(query)}`));
        return (result.length && result.every(({ value }) => Number.isFinite(Number(value[1])))) || performance.now() > deadline;
      });
      assert.ok(performance.now() < deadline, `${title}: ${expr}: ${JSON.stringify(result)}`);
      ++questions;
    }
    console.log(`# ${questions} questions of ${panels.length} panels have answers`);
    const { groups } = await get('rules?type=alert');
    assert.ok(groups[0].rules.length >= 8);
    await eventually(async () => (await get('rules?type=alert')).groups[0].rules.every(({ health }) => health === 'ok'));
  } finally {
    stop = true;
    await traffic;
    watcher.kill('SIGKILL');
    await ended;
    await server.stop();
    rmSync(folder, { recursive: true });
  }
});
