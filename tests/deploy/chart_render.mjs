// The chart's examples as objects.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const packages = process.env.NACELLE_DEPLOY;
export const require = createRequire(path.join(packages, 'package.json'));
export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
export const chart = path.join(root, 'helm/nacelle');
export const helm = path.join(packages, 'helm/helm');
export const examples = ['laptop', 'nvidia', 'amd', 'mixed', 'airgapped'];

const built = process.env.NACELLE ?? path.join(root, 'build/release/bin/nacelle');
export const program = existsSync(built) ? built : '';

const YAML = require('yaml');

// What must be set, and what an example's own file may say otherwise.
export const registry = ['--set', 'image.repository=registry.example.com/nacelle'];
const settled = ['laptop', 'airgapped'];
export const valuesOf = (name) => [...(settled.includes(name) ? [] : registry), '-f', path.join(chart, 'examples', `${name}.yaml`)];

// The text that `helm install nacelle` would send for an example.
export function example(name, ...flags) {
  const { status, stdout, stderr } = spawnSync(helm, ['template', 'nacelle', chart, '--namespace', 'llm', ...valuesOf(name), ...flags],
                                               { encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
  return stdout;
}

export function render(name, ...flags) {
  return YAML.parseAllDocuments(example(name, ...flags)).map((document) => {
    if (document.errors.length) throw document.errors[0];
    return document.toJS();
  }).filter(Boolean);
}

export const exists = (manifests, kind, name) => manifests.some((one) => one.kind === kind && one.metadata.name === name);
