// OpenAI's published description of its API, as a validator of our answers.
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { require, shared } from './harness.mjs';

const Ajv = require('ajv');
const YAML = require('yaml');

export const description = 'conformance/openai/openai-openapi.yaml';
let ajv;

// OpenAPI's words that JSON Schema does not know: nullable (3.0) becomes a type of null.
function translate(node) {
  if (Array.isArray(node)) return node.map(translate);
  if (node === null || typeof node !== 'object') return node;
  const { nullable, discriminator, example, ...rest } = node;
  const result = Object.fromEntries(Object.entries(rest).map(([name, value]) => [name, translate(value)]));
  return nullable ? { anyOf: [result, { type: 'null' }] } : result;
}

// undefined where `value` fits the schema of that name, else what is wrong.
export function faults(name, value) {
  if (!ajv) {
    const document = YAML.parse(readFileSync(path.join(shared, description), 'utf8'), { logLevel: 'error' });
    ajv = new Ajv({ strict: false, validateFormats: false, allErrors: true });
    ajv.addSchema({ $id: 'openapi', components: translate(document.components) });
  }
  const validate = ajv.getSchema(`openapi#/components/schemas/${name}`);
  return validate(value) ? undefined : ajv.errorsText(validate.errors);
}
