// The demo model with other chat templates, which are written over its own in a copy of the file.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { Server, root } from './harness.mjs';

const folder = mkdtempSync(path.join(os.tmpdir(), 'nacelle-templates-'));
test.after(() => rmSync(folder, { recursive: true }));

function withTemplate(name, template) {
  const bytes = readFileSync(path.join(root, 'models/demo/nacelle-demo-q8_0.gguf'));
  const key = 'tokenizer.chat_template';
  const length = bytes.indexOf(key) + key.length + 4;  // behind the key: the type, the length, the text
  const room = Number(bytes.readBigUInt64LE(length));
  const size = Buffer.byteLength(template);
  assert.ok(size + 4 <= room);
  bytes.write(`${template}{#${'-'.repeat(room - size - 4)}#}`, length + 8);
  const file = path.join(folder, `${name}.gguf`);
  writeFileSync(file, bytes);
  return ['--model', `${name}=${file}`];
}

// The same with a second template, for chats with tools, in a key that is put before the others.
function withToolTemplate(name, template, toolTemplate) {
  const [, model] = withTemplate(name, template), file = model.slice(name.length + 1);
  const bytes = readFileSync(file), key = Buffer.from('tokenizer.chat_template.tool_use');
  const size = 8 + key.length + 4 + 8 + Buffer.byteLength(toolTemplate), kString = 8, kHeader = 24, kAlignment = 32;
  const entry = Buffer.alloc(Math.ceil(size / kAlignment) * kAlignment, ' ');
  entry.writeBigUInt64LE(BigInt(key.length));
  key.copy(entry, 8);
  entry.writeUInt32LE(kString, 8 + key.length);
  entry.writeBigUInt64LE(BigInt(entry.length - key.length - 20), 12 + key.length);
  entry.write(toolTemplate, 20 + key.length);
  bytes.writeBigUInt64LE(bytes.readBigUInt64LE(16) + 1n, 16);  // how many keys there are
  writeFileSync(file, Buffer.concat([bytes.subarray(0, kHeader), entry, bytes.subarray(kHeader)]));
  return ['--model', model];
}

const chatml = (begin) => "{%- for m in messages %}{%- if m.role == 'system' and not loop.first %}{{ raise_exception('one system') }}{%- endif %}" +
  "{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{%- endfor %}{{ '<|im_start|>assistant\\n" + begin + "' }}";

test('templates of one system message and of thinking', async (context) => {
  const server = await Server.start(...withTemplate('plain', chatml('')), ...withTemplate('thinks', chatml('<think>\\n') + '{# </think> #}'));
  context.after(() => server.stop());
  const tokens = async (messages) => (await server.post('/tokenize', { model: 'plain', messages })).body;
  const of = (role, content) => ({ role, content });

  // Those at the beginning become one, later ones the user's.
  const many = [of('system', 'a'), of('developer', 'b'), of('user', 'c'), of('system', '<|im_end|>'), of('user', 'e'), of('assistant', 'f'),
                of('user', 'g'), of('user', 'h'), of('assistant', 'i'), of('system', 'j')];
  const plain = [of('system', 'a\n\nb'), of('user', 'c\n\n<|im_end|>\n\ne'), of('assistant', 'f'), of('user', 'g'), of('user', 'h'),
                 of('assistant', 'i'), of('user', 'j')];
  assert.deepEqual(await tokens(many), await tokens(plain));
  assert.ok((await tokens(many)).count > 10);

  // Anthropic's effort is a hint; OpenAI's must be one that the template knows.
  const request = { model: 'thinks', max_tokens: 4, messages: [of('user', 'Hello!')] };
  const message = await server.post('/v1/messages', { ...request, output_config: { effort: 'high' } });
  assert.equal(message.body.content[0].type, 'thinking');
  const quiet = { ...request, thinking: { type: 'adaptive', display: 'omitted' } };
  assert.deepEqual((await server.post('/v1/messages', quiet)).body.content, [{ type: 'thinking', thinking: '', signature: '' }]);
  const events = await (await fetch(`${server.url}/v1/messages`, { method: 'POST', body: JSON.stringify({ ...quiet, stream: true }) })).text();
  assert.deepEqual(events.match(/"type":"(content_block\w*|thinking_delta)"/g), ['"type":"content_block_start"', '"type":"content_block_stop"']);
  // Our own answer, sent back as it came.
  const chat = await server.post('/v1/chat/completions', request);
  const again = await server.post('/v1/chat/completions', { ...request, messages: [...request.messages, chat.body.choices[0].message, of('user', 'And?')] });
  assert.equal(again.status, 200, JSON.stringify(again.body));
  assert.equal((await server.post('/v1/chat/completions', { ...request, reasoning_effort: 'high' })).body.error.param, 'reasoning_effort');
});

test('Ollama\'s think, in the words of each template', async (context) => {
  const end = "{{ '<|im_start|>assistant\n' }}";
  const body = chatml('').replace(end, '');
  const server = await Server.start(...withTemplate('always', chatml('<think>\n') + '{# </think> #}'),
    ...withTemplate('switched', `${body}{# </think> #}${end}{% if enable_thinking %}<think>{% else %}<no>{% endif %}`),
    ...withTemplate('levels', `${body}{# </think> #}${end}{{ reasoning_effort }}`), ...withTemplate('never', chatml('')));
  context.after(() => server.stop());
  const ask = (model, think, more = {}) => server.post('/api/chat', { model, think, stream: false, messages: [{ role: 'user', content: 'Hello!' }],
                                                                      options: { temperature: 0, num_predict: 6 }, ...more });
  const length = async (model, think) => (await ask(model, think)).body.prompt_eval_count;
  const always = (await ask('always', true)).body.message;
  assert.ok(always.thinking.length > 0);
  assert.equal(always.content, '');
  assert.equal((await ask('switched', true)).body.message.content, '');
  assert.ok((await ask('switched', 'low')).body.message.thinking.length > 0);
  assert.ok((await ask('switched', false)).body.message.content.length > 0);
  assert.notEqual(await length('levels', 'max'), await length('levels'));
  for (const [model, think, words] of [['always', false, /always thinks/], ['always', 'low', /no levels/], ['levels', false, /always thinks/],
                                       ['never', true, /does not support thinking/], ['never', 'high', /does not support thinking/]]) {
    const { status, body: { error } } = await ask(model, think);
    assert.equal(status, 400);
    assert.match(error, words);
    assert.match(error, /'think'/);
  }
  assert.equal((await ask('never', false)).status, 200);
  assert.deepEqual((await server.post('/api/show', { model: 'switched' })).body.capabilities, ['completion', 'thinking']);
  const stream = await fetch(`${server.url}/api/generate`, { method: 'POST', body: JSON.stringify({ model: 'always', prompt: 'Hello!', options: { num_predict: 6 } }) });
  const lines = (await stream.text()).trim().split('\n').map(JSON.parse);
  assert.ok(lines.map((line) => line.thinking ?? '').join('').length > 0);
  assert.equal(lines.map((line) => line.response).join(''), '');
});

test('a model with a template of its own for tools', async (context) => {
  const end = "{{ '<|im_start|>assistant\\n' }}";
  const tools = chatml('').replace(end, "{{ 'TOOLS ' + tools[0].function.name + ' <tool_call></tool_call>' }}" + end);
  const server = await Server.start(...withToolTemplate('two', chatml(''), tools));
  context.after(() => server.stop());
  const messages = [{ role: 'user', content: 'hi' }], tool = { type: 'function', function: { name: 'f', parameters: {} } };
  const prompt = async (more) => {
    const { tokens } = (await server.post('/tokenize', { model: 'two', messages, ...more })).body;
    return (await server.post('/detokenize', { model: 'two', tokens })).body.content;
  };
  assert.ok(!(await prompt({})).includes('TOOLS'));
  assert.ok((await prompt({ tools: [tool] })).includes('TOOLS f'));
  // The dialect is the one that this template writes.
  const chat = await server.post('/v1/chat/completions', { model: 'two', messages, tools: [tool], tool_choice: 'required', max_tokens: 64 });
  assert.equal(chat.body.choices[0].message.tool_calls[0].function.name, 'f');
  assert.deepEqual((await server.post('/api/show', { model: 'two' })).body.capabilities, ['completion', 'tools']);
});

test('a call that must come, in the forms that templates tell, whole and streamed', async (context) => {
  const signs = { kimi: '<|tool_calls_section_begin|>', lfm2: '<|tool_call_start|>', minimax: '<minimax:tool_call><invoke name=', nemotron: '<TOOLCALL></TOOLCALL>',
    olmo: '<functions><function_calls>', pythonic: '[func_name1(param1=value1)]', hunyuan: '<tool_calls></tool_calls>' };
  const server = await Server.start(...Object.entries(signs).flatMap(([name, sign]) => withTemplate(name, chatml('') + `{# ${sign} #}`)));
  context.after(() => server.stop());
  const parameters = { type: 'object', properties: { n: { type: 'integer', minimum: 0, maximum: 9 }, on: { type: 'boolean' } }, required: ['n', 'on'], additionalProperties: false };
  const tools = ['f', 'g'].map((name) => ({ type: 'function', function: { name, strict: true, parameters } }));
  for (const model of Object.keys(signs)) {
    const body = { model, messages: [{ role: 'user', content: 'Hello!' }], tools, tool_choice: { type: 'function', function: { name: 'g' } }, max_tokens: 64, temperature: 0 };
    const [call] = (await server.post('/v1/chat/completions', body)).body.choices[0].message.tool_calls;
    assert.equal(call.function.name, 'g', model);
    const given = JSON.parse(call.function.arguments);
    assert.ok(Number.isInteger(given.n) && typeof given.on === 'boolean', call.function.arguments);
    if (model === 'kimi') assert.match(call.id, /^functions\.g:[0-9]+$/);
    const stream = await fetch(`${server.url}/v1/chat/completions`, { method: 'POST', body: JSON.stringify({ ...body, stream: true }) });
    const deltas = (await stream.text()).split('\n\n').filter((event) => event.startsWith('data: {')).flatMap((event) => JSON.parse(event.slice(6)).choices[0]?.delta.tool_calls ?? []);
    assert.equal(deltas[0].function.name, 'g', model);
    assert.deepEqual(JSON.parse(deltas.map((delta) => delta.function.arguments ?? '').join('')), given, model);
  }
});

// DeepSeek's look for calls where there is no content, and add their arguments to a text.
test('templates that want calls without content and arguments as text', async (context) => {
  const template = "{%- for m in messages %}{%- if m['role'] == 'assistant' and m['content'] is none %}{%- for c in m['tool_calls'] %}" +
    "{{ '<｜tool▁calls▁begin｜>' + c['type'] + '<｜tool▁sep｜>' + c['function']['name'] + '\\n```json\\n' + c['function']['arguments'] + '\\n```' }}" +
    "{%- endfor %}{%- elif m['content'] is not none %}{{ m['role'] + ':' + m['content'] + ';' }}{%- endif %}{%- endfor %}";
  const server = await Server.start(...withTemplate('deepseek', template));
  context.after(() => server.stop());
  for (const content of [null, ''])
    for (const text of ['{"a": 1}', 'no JSON']) {
      const call = { id: 'x', type: 'function', function: { name: 'f', arguments: text } };
      const messages = [{ role: 'user', content: 'hi' }, { role: 'assistant', content, tool_calls: [call] },
                        { role: 'tool', tool_call_id: 'x', content: '42' }];
      const { tokens } = (await server.post('/tokenize', { model: 'deepseek', messages })).body;
      const { content: prompt } = (await server.post('/detokenize', { model: 'deepseek', tokens })).body;
      const written = text === 'no JSON' ? text : '{"a":1}';
      assert.ok(prompt.endsWith(`user:hi;<｜tool▁calls▁begin｜>function<｜tool▁sep｜>f\n\`\`\`json\n${written}\n\`\`\`tool:42;`), prompt);
    }
});
