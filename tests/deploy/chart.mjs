// The chart as a cluster would see it: every example rendered and held against the Kubernetes schemas, the restricted rules of
// Pod Security, the server's own settings and what was rendered before; and what the schema refuses, with its words.
// `--update` writes the golden renders anew: read the difference before it is committed.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { chart, example, examples, exists, helm, packages, program, registry, render, require, root, valuesOf } from './chart_render.mjs';
import { restricted } from './pod_security.mjs';

const YAML = require('yaml');
const update = process.argv.includes('--update');

test('helm lint --strict', () => {
  const { status, stdout, stderr } = spawnSync(helm, ['lint', '--strict', chart], { encoding: 'utf8' });
  assert.equal(status, 0, stdout + stderr);
});

test('the README is of these values', () => {
  const made = execFileSync(path.join(root, 'helm/readme'), { encoding: 'utf8' });
  if (update) writeFileSync(path.join(chart, 'README.md'), made);
  assert.equal(readFileSync(path.join(chart, 'README.md'), 'utf8'), made, 'helm/readme > helm/nacelle/README.md');
});

// The chart sets these itself; all others may stand in `server`.
const own = ['model', 'host', 'port', 'manage-host', 'manage-port', 'api-keys', 'tls-cert', 'tls-key', 'drain-seconds', 'lora'];

test('the schema knows each setting of the server', () => {
  const settings = [...readFileSync(path.join(root, 'docs/settings.md'), 'utf8').matchAll(/^\| `([a-z0-9-]+)`/gm)].map((m) => m[1]);
  const file = path.join(chart, 'values.schema.json');
  const wanted = settings.filter((key) => !own.includes(key));
  const text = readFileSync(file, 'utf8');
  const [, list] = text.match(/"propertyNames": \{\s*"enum": \[([^\]]*)\]/);
  if (update) writeFileSync(file, text.replace(list, `\n${wanted.map((key) => `     "${key}"`).join(',\n')}\n    `));
  assert.deepEqual(JSON.parse(readFileSync(file)).$defs.server.propertyNames.enum, wanted, './dev chart --update writes helm/nacelle/values.schema.json anew');
});

// Each value has a place in the schema, and each place of the schema a default.
test('values and schema have the same keys', () => {
  const schema = JSON.parse(readFileSync(path.join(chart, 'values.schema.json')));
  const compare = (values, node, at) => {
    if (node.$ref) node = schema.$defs[node.$ref.split('/').pop()];
    if (!node.properties || node.propertyNames) return;  // the server's settings have a list of their own
    assert.equal(node.additionalProperties, false, `${at} is not strict`);
    const known = Object.keys(node.properties).filter((key) => key !== 'global');
    assert.deepEqual(Object.keys(values).toSorted(), known.toSorted(), at);
    for (const key of known) if (values[key] && typeof values[key] === 'object') compare(values[key], node.properties[key], `${at}.${key}`);
  };
  const values = YAML.parse(readFileSync(path.join(chart, 'values.yaml'), 'utf8'));
  delete values.defaults.resources;
  delete values.picker.resources;
  delete schema.properties.defaults.properties.resources;
  delete schema.properties.picker.properties.resources;
  compare(values, schema, 'values');
});

test('NOTES.txt says what there is and what comes next', () => {
  const notes = (name) => {
    const { status, stdout, stderr } = spawnSync(helm, ['install', 'nacelle', chart, '--namespace', 'llm', '--dry-run=client', ...valuesOf(name)], { encoding: 'utf8' });
    assert.equal(status, 0, stderr);
    return stdout.slice(stdout.indexOf('\nNOTES:\n'));
  };
  const laptop = notes('laptop');
  for (const part of ['1 pool behind one address', 'cpu: cpu, 1 pod, the demo model', 'helm test -n llm nacelle --logs', 'curl http://127.0.0.1:8080/v1/chat/completions']) assert.ok(laptop.includes(part), part + laptop);
  assert.ok(!laptop.includes('KEY') && !laptop.includes('Pending'));
  const airgapped = notes('airgapped');
  for (const part of ['3 pools', 'gpu: nvidia, 1 pod, /model/chat-q8_0.gguf', 'curl -k https://', '"Authorization: Bearer $KEY"', 'with the text of a key']) assert.ok(airgapped.includes(part), part + airgapped);
  assert.match(notes('amd'), /amd: amd, 0 to 3 pods, hf:/);
  assert.match(notes('amd'), /Pods that stay Pending .*\n  amd: feature\.node\.kubernetes\.io\/amd-gpu, /);
});

for (const [flags, message] of [
  [['--set', 'pool=1'], "additional properties 'pool' not allowed"],
  [['--set', 'defaults.replica=2'], "at '/defaults': additional properties 'replica' not allowed"],
  [['--set-json', 'pools=[{"name":"a","vendor":"intel"}]'], "at '/pools/0/vendor': value must be one of 'cpu', 'nvidia', 'amd', 'vulkan'"],
  [['--set-json', 'pools=[{"name":"a"}]'], "at '/pools/0': missing property 'vendor'"],
  [['--set-json', 'pools=[{"name":"a","vendor":"cpu","server":{"max-sequence":3}}]'], "invalid propertyName 'max-sequence'"],
  [['--set-json', 'pools=[]'], "at '/pools': minItems: got 0, want 1"],
  [['--set', 'model.source=s3'], "at '/model/source': value must be one of 'demo', 'hf', 'http', 'pvc', 'oci'"],
  [['--set', 'cache.size=lots'], "at '/cache/size': 'lots' does not match pattern"],
  [['--set', 'route.enabled=true'], "at '/route/parentRefs': minItems: got 0, want 1"],
  [['--set', 'model.source=hf'], "pool 'cpu': model.source hf needs model.hf.repository"],
  [['--set', 'tuning.job=true'], 'tuning.job needs cache.type shared or perPool'],
  [['--set', 'manage.enabled=true'], 'manage.enabled needs auth.secret'],
  [['--set-json', 'defaults.autoscaling={"type":"keda","min":0}'], 'autoscaling.min 0 needs autoscaling.gatewayQuery'],
  [['--set-json', 'defaults.autoscaling={"type":"hpa","min":0}'], 'autoscaling.min 0 is for keda'],
  [['--set', 'defaults.rollout.maxSurge=0'], 'no pod could ever be replaced'],
  [['--set', 'defaults.gpu.mig=1g.5gb'], "gpu.mig is NVIDIA's"],
  [['--set-json', 'pools=[{"name":"a","vendor":"cpu"},{"name":"a","vendor":"amd"}]'], "two are called 'a'"],
]) {
  test(`refused: ${flags.slice(1)}`, () => {
    const { status, stderr } = spawnSync(helm, ['template', 'x', chart, ...registry, ...flags], { encoding: 'utf8' });
    assert.notEqual(status, 0);
    assert.ok(stderr.includes(message), stderr);
  });
}

test('an image must be named', () => {
  const { status, stderr } = spawnSync(helm, ['template', 'x', chart], { encoding: 'utf8' });
  assert.notEqual(status, 0);
  assert.match(stderr, /pool 'cpu': image\.repository is not set: no image of Nacelle is published; build nacelle:cpu \(`\.\/dev image cpu`\), push it, and set image\.repository/);
  const own = spawnSync(helm, ['template', 'x', chart, '--set', 'defaults.image.reference=registry.internal/own@sha256:' + 'a'.repeat(64)], { encoding: 'utf8' });
  assert.equal(own.status, 0, own.stderr);
});

// Field names and types, by the published types; formats and what is required, by the published schemas.
const models = {
  'apps/v1': 'kubernetes-models/apps/v1', 'batch/v1': 'kubernetes-models/batch/v1', v1: 'kubernetes-models/v1',
  'autoscaling/v2': 'kubernetes-models/autoscaling/v2', 'policy/v1': 'kubernetes-models/policy/v1',
  'networking.k8s.io/v1': 'kubernetes-models/networking.k8s.io/v1',
  'rbac.authorization.k8s.io/v1': 'kubernetes-models/rbac.authorization.k8s.io/v1',
  'gateway.networking.k8s.io/v1': '@kubernetes-models/gateway-api/gateway.networking.k8s.io/v1',
  'keda.sh/v1alpha1': '@kubernetes-models/keda/keda.sh/v1alpha1',
  'monitoring.coreos.com/v1': '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1',
};
const unpublished = { 'inference.networking.k8s.io/v1': inferencePool };

// https://gateway-api-inference-extension.sigs.k8s.io/reference/spec
function inferencePool({ kind, spec }) {
  assert.equal(kind, 'InferencePool');
  assert.deepEqual(Object.keys(spec).toSorted(), ['endpointPickerRef', 'selector', 'targetPorts']);
  assert.deepEqual(Object.keys(spec.selector), ['matchLabels']);
  assert.ok(spec.targetPorts.length >= 1 && spec.targetPorts.every(({ number }) => number > 0 && number < 65536));
  const { name, port, failureMode } = spec.endpointPickerRef;
  assert.ok(name && port.number > 0 && ['FailOpen', 'FailClose'].includes(failureMode));
}

function typecheck(manifests) {
  const folder = mkdtempSync(path.join(packages, 'types-'));
  try {
    const lines = manifests.filter((one) => models[one.apiVersion]).map((one, i) => {
      return `import { I${one.kind} as T${i} } from '${models[one.apiVersion]}';\nexport const m${i}: T${i} = ${JSON.stringify(one)};`;
    });
    writeFileSync(path.join(folder, 'manifests.ts'), lines.join('\n'));
    const { status, stdout } = spawnSync(process.execPath, [
      path.join(packages, 'node_modules/typescript/bin/tsc'), '--noEmit', '--strict', '--skipLibCheck', '--module', 'nodenext',
      '--moduleResolution', 'nodenext', '--target', 'es2022', path.join(folder, 'manifests.ts')], { encoding: 'utf8' });
    assert.equal(status, 0, stdout);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const noProgram = program ? false : 'needs build/release/bin/nacelle';

// What the program makes of each pool's settings; it refuses what it does not know.
function taken(manifests) {
  return manifests.filter((one) => one.kind === 'Deployment' && one.metadata.labels['nacelle.dev/pool']).map(({ spec }) => {
    const folder = mkdtempSync(path.join(os.tmpdir(), 'nacelle-'));
    writeFileSync(path.join(folder, 'config.yaml'), YAML.stringify(settings(manifests, spec.template.spec)));
    const shown = spawnSync(program, ['config', '--format', 'json', '--config', path.join(folder, 'config.yaml')], { encoding: 'utf8' });
    rmSync(folder, { recursive: true });
    assert.equal(shown.status, 0, shown.stderr);
    return Object.fromEntries(JSON.parse(shown.stdout).map(({ name, values }) => [name, values]));
  });
}

const rendered = new Map(examples.map((name) => [name, render(name)]));

for (const [name, manifests] of rendered) {
  test(`${name}: Kubernetes schemas`, async () => {
    for (const manifest of manifests) {
      const { apiVersion, kind } = manifest;
      if (unpublished[apiVersion]) {
        unpublished[apiVersion](manifest);
        continue;
      }
      assert.ok(models[apiVersion], `${apiVersion} ${kind}: no schema is known`);
      const { [kind]: Model } = await import(path.join(packages, 'node_modules', models[apiVersion], 'index.js'));
      try { new Model(manifest).validate(); } catch (error) { assert.fail(`${kind} ${manifest.metadata.name}: ${error.message}`); }
      assert.ok(manifest.metadata.name.length <= 63, manifest.metadata.name);
    }
  });

  test(`${name}: restricted Pod Security`, () => {
    let pods = 0;
    for (const manifest of manifests) {
      const spec = manifest.kind === 'Pod' ? manifest.spec : manifest.spec?.template?.spec;
      if (!spec?.containers) continue;
      ++pods;
      assert.deepEqual(restricted(spec), [], `${manifest.kind} ${manifest.metadata.name}`);
    }
    assert.ok(pods >= 2);
  });

  test(`${name}: what belongs together`, () => {
    const deployments = manifests.filter(({ kind }) => kind === 'Deployment');
    const matches = (selector, labels) => Object.entries(selector).every(([key, value]) => labels[key] === value);
    for (const { spec, metadata } of deployments) {
      const labels = spec.template.metadata.labels;
      assert.ok(matches(spec.selector.matchLabels, labels), metadata.name);
      for (const other of deployments)
        if (other.metadata.name !== metadata.name) assert.ok(!matches(spec.selector.matchLabels, other.spec.template.metadata.labels), `${metadata.name} selects ${other.metadata.name}`);
      for (const container of [...spec.template.spec.containers, ...spec.template.spec.initContainers ?? []]) {
        const volumes = new Set(spec.template.spec.volumes.map((volume) => volume.name));
        for (const mount of container.volumeMounts ?? []) assert.ok(volumes.has(mount.name), `${metadata.name}: no volume ${mount.name}`);
      }
      for (const volume of spec.template.spec.volumes)
        if (volume.configMap && volume.name === 'config') assert.ok(exists(manifests, 'ConfigMap', volume.configMap.name));
    }
    for (const { kind, spec, metadata } of manifests)
      if (kind === 'Service') assert.ok(deployments.some((one) => matches(spec.selector, one.spec.template.metadata.labels)), metadata.name);
    for (const { kind, spec } of manifests)
      if (kind === 'HorizontalPodAutoscaler' || kind === 'ScaledObject') {
        const target = deployments.find((one) => one.metadata.name === spec.scaleTargetRef.name);
        assert.ok(target && !('replicas' in target.spec), 'what scales a pool alone says how many');
      }
  });

  test(`${name}: the pod's end is as long as the drain`, () => {
    for (const { metadata, spec } of manifests.filter((one) => one.kind === 'Deployment' && one.metadata.labels['nacelle.dev/pool'])) {
      const pod = spec.template.spec;
      const { 'drain-seconds': drain } = settings(manifests, pod);
      assert.ok(pod.terminationGracePeriodSeconds > pod.containers[0].lifecycle.preStop.sleep.seconds + drain, metadata.name);
    }
  });

  test(`${name}: the server takes its settings`, { skip: noProgram }, () => taken(manifests));

  test(`${name}: as rendered before`, () => {
    const file = path.join(root, 'tests/deploy/golden', `${name}.yaml`);
    // The dashboard is a file of its own, and would be most of the text.
    const text = example(name).replaceAll(/( {2}nacelle\.json: \|\n)( {4}.*\n)+/g, '$1    ...\n');
    if (update || !existsSync(file)) writeFileSync(file, text);
    assert.equal(text, readFileSync(file, 'utf8'), `./dev chart --update writes ${path.relative(root, file)} anew`);
  });
}

function settings(manifests, pod) {
  const name = pod.volumes.find((volume) => volume.name === 'config').configMap.name;
  return YAML.parse(manifests.find((one) => one.kind === 'ConfigMap' && one.metadata.name === name).data['config.yaml']);
}

test('all examples: names and types of all fields', () => typecheck([...rendered.values()].flat()));

test('the checks find faults', () => {
  const deployment = () => structuredClone(rendered.get('laptop').find(({ kind }) => kind === 'Deployment'));
  const misspelt = deployment();
  misspelt.spec.template.spec.containers[0].readynessProbe = {};
  assert.throws(() => typecheck([misspelt]), /readynessProbe/);
  for (const [change, said] of [
    [(pod) => { pod.hostNetwork = true; }, /hostNetwork/], [(pod) => { pod.volumes[0] = { name: 'models', hostPath: { path: '/' } }; }, /models/],
    [(pod) => { delete pod.securityContext.seccompProfile; }, /seccomp/], [(pod) => { pod.securityContext.runAsUser = 0; }, /runAsUser/],
    [(pod) => { delete pod.containers[0].securityContext.capabilities; }, /capabilities/],
    [(pod) => { pod.containers[0].securityContext.allowPrivilegeEscalation = true; }, /allowPrivilegeEscalation/],
  ]) {
    const pod = deployment().spec.template.spec;
    change(pod);
    assert.match(restricted(pod).join(), said);
  }
});

test('alerts and dashboard are those of docs/monitoring', () => {
  const nvidia = rendered.get('nvidia');
  const rules = nvidia.find(({ kind }) => kind === 'PrometheusRule');
  assert.deepEqual(rules.spec, YAML.parse(readFileSync(path.join(root, 'docs/monitoring/alerts.yaml'), 'utf8')));
  const dashboard = nvidia.find(({ metadata }) => metadata.name.endsWith('-dashboard'));
  assert.deepEqual(JSON.parse(dashboard.data['nacelle.json']), JSON.parse(readFileSync(path.join(root, 'docs/monitoring/dashboard.json'))));
});

for (const [backend, kind] of [['pools', 'Service'], ['picker', 'InferencePool']]) test(`weights of the route are pods times tokens a second: ${backend}`, () => {
  const manifests = render('mixed', '--set', `route.backend=${backend}`);
  const route = manifests.find((one) => one.kind === 'HTTPRoute');
  assert.deepEqual(route.spec.rules[0].backendRefs.map(({ name, weight }) => [name.split('-').pop(), weight]),
                   [['cuda', 1000], ['rocm', 396], ['intel', 63], ['cpu', 38]]);
  for (const one of route.spec.rules[0].backendRefs) assert.ok(one.kind === kind && exists(manifests, kind, one.name));
});

const twoPools = (first, second, ...flags) =>
  render('laptop', '--set-json', `pools=[{"name":"${first}","vendor":"cpu"},{"name":"${second}","vendor":"cpu"}]`, ...flags);

test('a pool scales by its own pods, not by those of one whose name begins alike', () => {
  const scaled = twoPools('cpu', 'cpu-big', '--set', 'defaults.autoscaling.type=keda').filter(({ kind }) => kind === 'ScaledObject');
  const fits = (name, pod) => {
    const { query } = scaled.find(({ metadata }) => metadata.name.endsWith(name)).spec.triggers[0].metadata;
    return new RegExp(`^(${query.match(/pod=~"([^"]+)"/)[1]})$`).test(pod);
  };
  const { name: release } = scaled[0].metadata;
  assert.ok(fits('-cpu', `${release}-7d9c6b5f48-x2x7k`) && fits('-cpu-big', `${release}-big-7d9c6b5f48-x2x7k`));
  assert.ok(!fits('-cpu', `${release}-big-7d9c6b5f48-x2x7k`) && !fits('-cpu-big', `${release}-7d9c6b5f48-x2x7k`));
});

test('a pool whose name is taken', () => {
  for (const name of ['manage', 'dashboard']) assert.throws(() => twoPools('cpu', name), new RegExp(`pool '${name}': the chart has an object of that name`));
});

test('adapters', { skip: noProgram }, () => {
  const [settings] = taken(render('laptop', '--set-json', 'lora=[{"name":"sql","path":"/models/sql.gguf"}]'));
  assert.deepEqual(settings.lora, ['sql=/models/sql.gguf']);
});

test('every example of the folder is here', () => {
  assert.deepEqual(readdirSync(path.join(chart, 'examples')).map((file) => path.parse(file).name).toSorted(), examples.toSorted());
});
