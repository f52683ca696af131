// Constrained answers of the server, held against an independent validator.
import assert from 'node:assert/strict';
import test from 'node:test';
import { model, paris, require, server } from './harness.mjs';

const Ajv = require('ajv/dist/2020');
const { client } = server;
const create = (options) => client.chat.completions.create({ model, messages: paris, max_tokens: 400, ...options });
const format = (schema) => ({ type: 'json_schema', json_schema: { name: 'answer', strict: true, schema } });

const schemas = [
  { type: 'object', required: ['name', 'age', 'kind'], additionalProperties: false,
    properties: { name: { type: 'string', minLength: 1, maxLength: 20 }, age: { type: 'integer', minimum: 0, maximum: 150 },
                  score: { type: 'number', exclusiveMinimum: 0, maximum: 1 }, kind: { enum: ['a', 'b', 3, null] },
                  tags: { type: 'array', items: { type: 'string', pattern: '^[a-z]{2,8}$' }, minItems: 1, maxItems: 3 } } },
  { $defs: { node: { type: 'object', required: ['v'], additionalProperties: false, maxProperties: 2,
                     properties: { v: { type: 'integer', multipleOf: 5, minimum: 0, maximum: 1000 },
                                   next: { anyOf: [{ $ref: '#/$defs/node' }, { type: 'null' }] } } } }, $ref: '#/$defs/node' },
  { type: 'array', prefixItems: [{ const: 'x' }, { type: 'boolean' }], items: { type: ['integer', 'null'], maximum: 9, minimum: -9 },
    minItems: 2, maxItems: 5 },
  { oneOf: [{ type: 'object', properties: { t: { const: 'circle' }, r: { type: 'number', minimum: 1.5, maximum: 99.25 } }, required: ['t', 'r'],
              additionalProperties: false },
            { type: 'object', properties: { t: { const: 'square' }, side: { type: 'integer', minimum: 1, maximum: 10 } }, required: ['t', 'side'],
              additionalProperties: false }] },
];

test('json_schema: drawn answers are valid, streamed and not', async () => {
  const ajv = new Ajv({ strict: false });
  for (const schema of schemas) {
    const validate = ajv.compile(schema);
    const answers = await Promise.all(Array.from({ length: 8 }, (_, seed) =>
      create({ response_format: format(schema), temperature: 1.3, seed, top_p: seed % 2 ? 0.95 : 1 })));
    for (const { choices: [{ message, finish_reason: reason }] } of answers) {
      if (reason === 'length') continue;
      const value = JSON.parse(message.content);
      assert.ok(validate(value), `${message.content}: ${ajv.errorsText(validate.errors)}`);
    }
    assert.ok(answers.filter((answer) => answer.choices[0].finish_reason === 'stop').length >= 4);
    let text = '';
    for await (const chunk of await create({ response_format: format(schema), temperature: 0, stream: true })) {
      text += chunk.choices[0]?.delta.content ?? '';
    }
    const whole = await create({ response_format: format(schema), temperature: 0 });
    assert.equal(text, whole.choices[0].message.content);
  }
});

test('json_object, regex, choice, grammar', async () => {
  const content = async (options) => (await create({ temperature: 1, seed: 3, ...options })).choices[0].message.content;
  assert.match(await content({ response_format: { type: 'json_object' }, max_tokens: 30 }), /^\{/);
  assert.match(await content({ regex: '[A-Z][a-z]{2,9}-\\d{4}' }), /^[A-Z][a-z]{2,9}-\d{4}$/);
  assert.match(await content({ guided_regex: '(yes|no)!' }), /^(yes|no)!$/);
  assert.ok(['Paris', 'London'].includes(await content({ choice: ['Paris', 'London'] })));
  assert.equal(await content({ guided_choice: ['only this'] }), 'only this');
  assert.match(await content({ grammar: 'root ::= "[" [0-9]{1,4} ("," [0-9]{1,4}){2} "]"' }), /^\[\d{1,4}(,\d{1,4}){2}\]$/);
  const takeoff = await server.post('/generate', { text: 'The', regex_string: ' [a-z]{4}' });
  assert.match(takeoff.body.text, /^ [a-z]{4}$/);
  const answer = await client.completions.create({ model, prompt: 'The', regex: ' [a-z]{3}', max_tokens: 20 });
  assert.match(answer.choices[0].text, /^ [a-z]{3}$/);
});

test('what cannot be enforced is a 400 that names the field and the keyword', async () => {
  const cases = [
    [{ response_format: format({ type: 'array', uniqueItems: true }) }, 'response_format', /"uniqueItems" at #\/uniqueItems/],
    [{ response_format: format({ type: 'integer', minimum: 3, maximum: 2 }) }, 'response_format', /nothing can satisfy/],
    [{ response_format: { type: 'xml' } }, 'response_format.type', /json_schema/],
    [{ response_format: { type: 'json_schema', json_schema: { name: 'x' } } }, 'response_format.json_schema.schema', /missing/],
    [{ regex: '(?=a)' }, 'regex', /look-ahead/],
    [{ guided_regex: '(' }, 'guided_regex', /byte 1/],
    [{ json_schema: `{"const":${'['.repeat(300_000)}${']'.repeat(300_000)}}` }, 'json_schema', /nested deeper than 200/],
    [{ grammar: 'root ::= root' }, 'grammar', /left recursion|no text/],
    [{ choice: [] }, 'choice', /1 to 4096/],
    [{ regex: 'a', choice: ['b'] }, 'choice', /both constrain/],
    [{ regex: 'a', ignore_eos: true }, 'ignore_eos', /regex/],
  ];
  for (const [options, param, message] of cases) {
    await assert.rejects(create(options), (error) => {
      assert.equal(error.status, 400);
      assert.equal(error.param, param);
      assert.match(error.message, message);
      return true;
    });
  }
});

// There are two workers: a grammar that takes long to compile leaves them to others.
test('requests whose grammar takes seconds to compile hold up nobody else', async () => {
  const slow = (nth) => format({ type: 'object', properties: Object.fromEntries(Array.from({ length: 11 }, (_, i) =>
    [`p${i}`, { type: 'string', pattern: `^(a|b)*a(a|b){13}x${nth}y${i}$`, minLength: 2 }])) });
  let over = 0;
  const hard = Array.from({ length: 4 }, (_, nth) =>
    create({ response_format: slow(nth), max_tokens: 4 }).then(() => null, (error) => error).finally(() => { over += 1; }));
  const easy = await Promise.all(Array.from({ length: 4 }, () => create({ temperature: 0, max_tokens: 40 })));
  assert.ok(easy.every((answer) => answer.choices[0].message.content.includes('Paris')));
  assert.ok(over < 2, `${over} of the slow ones were over`);
  for (const error of await Promise.all(hard)) {
    if (error) assert.match(error.message, /^400 the grammar takes longer than 2000 ms to compile/);
  }
});
