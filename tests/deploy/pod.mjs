// What a kubelet does with a pod of the chart, by the real program and without a cluster: volumes and Secrets as files of a
// folder, init containers to their end, the server with its probes, and the pod's end. Jobs and the test pod are run to theirs.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import path from 'node:path';
import { freePort } from '../support/server.mjs';
import { program, require } from './chart_render.mjs';

const YAML = require('yaml');
export const sleep = (seconds) => new Promise((resolve) => setTimeout(resolve, 1000 * seconds));

// The values in `data` at any depth, as `change` makes them.
function mapped(data, change) {
  if (typeof data === 'string') return change(data);
  if (Array.isArray(data)) return data.map((one) => mapped(one, change));
  if (data && typeof data === 'object') return Object.fromEntries(Object.entries(data).map(([key, value]) => [key, mapped(value, change)]));
  return data;
}

export class Pod {
  static number = 0;

  // `files`: Secrets, ConfigMaps, claims and images by name, each with its files' contents. `models`: a folder that outlives
  // the pod, as a claim does.
  constructor(manifests, spec, folder, { files = {}, models } = {}) {
    Object.assign(this, { manifests, spec, files, ready: false, failures: [], log: '' });
    this.name = `pod-${Pod.number++}`;
    [this.container] = spec.containers;
    this.grace = spec.terminationGracePeriodSeconds;
    this.folder = path.join(folder, this.name);
    this.places = new Map();
    for (const volume of spec.volumes) this.places.set(volume.name, volume.name === 'models' && models || this.mount(volume));
  }

  // A volume as a folder.
  mount({ name, configMap, secret, persistentVolumeClaim, image }) {
    const place = path.join(this.folder, name);
    mkdirSync(place, { recursive: true });
    const source = configMap?.name ?? secret?.secretName ?? persistentVolumeClaim?.claimName ?? image?.reference;
    const rendered = this.manifests.find(({ kind, metadata }) => kind === 'ConfigMap' && metadata.name === source)?.data;
    for (const [file, content] of Object.entries(rendered ?? this.files[source] ?? {})) {
      mkdirSync(path.dirname(path.join(place, file)), { recursive: true });
      writeFileSync(path.join(place, file), content);
    }
    return place;
  }

  // What a container sees as /models/x lies elsewhere here; the place stands at the beginning of a text or behind "NAME=".
  placed(data, { volumeMounts }) {
    return mapped(data, (text) => {
      const [, before, rest] = text.match(/^([^/=]*=)?(\/.*)$/s) ?? [];
      const mount = rest && volumeMounts.find(({ mountPath }) => rest === mountPath || rest.startsWith(`${mountPath}/`));
      return mount ? (before ?? '') + this.places.get(mount.name) + rest.slice(mount.mountPath.length) : text;
    });
  }

  environment(container) {
    const value = ({ value: text, valueFrom }) => valueFrom ? String(this.files[valueFrom.secretKeyRef.name][valueFrom.secretKeyRef.key]) : this.placed(text, container);
    return { PATH: '', ...Object.fromEntries((container.env ?? []).map((one) => [one.name, value(one)])) };
  }

  // A container that ends: its status and what it said. `change`: what a cluster's names are here, by what they are there.
  async run(container, change = {}) {
    const args = container.args.map((arg) => Object.entries(change).reduce((text, [there, here]) => text.replace(there, here), this.placed(arg, container)));
    const child = spawn(program, args, { env: this.environment(container), stdio: ['ignore', 'pipe', 'pipe'] });
    const result = { out: '', err: '' };
    child.stdout.on('data', (data) => { result.out += data; });
    child.stderr.on('data', (data) => { result.err += data; });
    result.code = await new Promise((resolve) => child.on('close', resolve));
    return result;
  }

  async start() {
    for (const container of this.spec.initContainers ?? []) {
      const { code, err } = await this.run(container);
      assert.equal(code, 0, `${this.name}: init container ${container.name}: ${err}`);
    }
    this.port = await freePort();
    const rendered = path.join(this.places.get('config'), 'config.yaml');
    const config = YAML.parse(this.manifests.find(({ kind, metadata }) => kind === 'ConfigMap' && metadata.name === this.spec.volumes.find(({ name }) => name === 'config').configMap.name).data['config.yaml']);
    writeFileSync(rendered, YAML.stringify({ ...this.placed(config, this.container), host: '127.0.0.1', port: this.port }));
    this.process = spawn(program, this.placed(this.container.args, this.container), { env: this.environment(this.container), stdio: ['ignore', 'ignore', 'pipe'] });
    this.process.stderr.on('data', (data) => { this.log += data; });
    this.exited = new Promise((resolve) => this.process.on('exit', (code, signal) => resolve({ code, signal })));
    const startup = this.container.startupProbe;
    for (let tries = 0; !await this.probe(startup); ++tries) {
      assert.ok(tries < startup.failureThreshold && this.process.exitCode === null, `${this.name} does not start: ${this.log}`);
      await sleep(startup.periodSeconds / 10);
    }
    this.ready = true;
    this.watch();
  }

  probe({ httpGet, timeoutSeconds }) {
    return new Promise((resolve) => {
      const options = { host: '127.0.0.1', port: this.port, path: httpGet.path, timeout: 1000 * timeoutSeconds, agent: false, rejectUnauthorized: false };
      const request = (httpGet.scheme === 'HTTPS' ? https : http).get(options, (response) => {
        response.resume();
        resolve(response.statusCode >= 200 && response.statusCode < 400);
      });
      request.on('timeout', () => request.destroy()).on('error', () => resolve(false));
    });
  }

  async watch() {
    while (!this.ending) {
      await sleep(this.container.livenessProbe.periodSeconds);
      if (!this.ending && !await this.probe(this.container.livenessProbe)) this.failures.push('liveness');
      if (!this.ending && !await this.probe(this.container.readinessProbe)) this.failures.push('readiness');
    }
  }

  // preStop counts into the grace period, as it does there.
  async end({ preStop = this.container.lifecycle.preStop.sleep.seconds } = {}) {
    this.ending = true;
    const killed = sleep(this.grace).then(() => 'killed');
    await sleep(preStop);
    this.process.kill('SIGTERM');
    const how = await Promise.race([this.exited, killed]);
    if (how === 'killed') await this.kill();
    return how;
  }

  async kill() {
    this.ending = true;
    this.process?.kill('SIGKILL');
    await this.exited;
  }
}

export const podOf = (manifests, kind, suffix = '') => {
  const { spec } = manifests.find((one) => one.kind === kind && one.metadata.name.includes(suffix));
  return spec.template?.spec ?? spec;
};
