// What people get wrong at the command line: each is told in one line what, where, what was expected and what to do.
import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { promisify } from 'node:util';
import { root, Server, server } from './harness.mjs';

const nacelle = process.env.NACELLE;
const run = promisify(execFile);

const demo = path.join(root, 'models/demo/nacelle-demo-q8_0.gguf');

// `use` gets a folder that is gone afterwards.
async function withFolder(use) {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'nacelle-'));
  try { await use(folder); } finally { rmSync(folder, { recursive: true }); }
}

// [arguments, what is said, variables]: one line, which names the program and ends with 2.
const refusedCommands = [
  [['serv'], /^nacelle: there is no command 'serv'; did you mean serve\? \(`nacelle --help` lists them\)$/],
  [[], /^nacelle: a command is missing behind 'nacelle'/],
  [['key'], /^nacelle: a command is missing behind 'nacelle key'/],
  [['--prot'], /^nacelle: there is no flag '--prot'/],
  [['serve', '--prot=1'], /^nacelle: there is no flag '--prot'; did you mean --port\? \(`nacelle serve --help` lists them\)$/],
  [['serve', 'model.gguf'], /^nacelle: there is no argument 'model.gguf'; a model is given as --model model.gguf/],
  [['serve', '--port'], /^nacelle: --port: a value is missing/],
  [['serve', '--port', '70000'], /^nacelle: --port: expected 0 to 65535, not '70000' \(see/],
  [['serve', '--port', 'http'], /^nacelle: --port: expected 0 to 65535, not 'http' \(see/],
  [['serve', '--draft-model', 'x', '--draft-tokens', '17'], /^nacelle: --draft-tokens: expected 1 to 16, not '17' \(see/],
  [['serve', '--port', '1', '--port', '2'], /^nacelle: --port: may be given only once/],
  [['serve', '--max-queue', 'many'], /^nacelle: --max-queue: expected a whole number, 0 or more, not 'many'/],
  [['serve', '--context', '99999999999'], /^nacelle: --context: 99999999999 is too large/],
  [['serve'], /^nacelle: NACELLE_MAX_QUEUE: expected a whole number, 0 or more, not '-3'/, { NACELLE_MAX_QUEUE: '-3' }],
  [['serve', '--no-speculation=maybe'], /^nacelle: --no-speculation: expected true or false, not 'maybe'/],
  [['serve', '--device', 'cpu', '--split', 'cpu'], /^nacelle: --device and --split exclude each other$/],
  [['serve', '--draft-tokens', '3'], /^nacelle: --draft-tokens requires --draft-model/],
  [['serve', '--max-connections', '0'], /^nacelle: --max-connections: expected 1 or more, not 0/],
  [['serve', '--header-timeout', '-1'], /^nacelle: --header-timeout: expected more than 0/],
  [['serve', '--body-timeout', 'nan'], /^nacelle: --body-timeout: expected more than 0/],
  [['serve', '--max-memory', 'lots'], /^nacelle: --max-memory: 'lots' is no size; expected bytes, or as 6G, 512M/],
  [['serve', '--max-memory', '-1'], /^nacelle: --max-memory: '-1' is no size/],
  [['serve', '--tune-budget', '5m'], /^nacelle: --tune-budget: '5m' is no duration/],
  [['serve', '--cors-origin', 'https://app.example/'], /^nacelle: --cors-origin: expected \*, or as https:\/\/app.example without a path/],
  [['serve', '--config', '.'], /^nacelle: --config \.: is a folder, expected a YAML file$/],
  [['run', '--temperature', 'hot'], /^nacelle: --temperature: expected a number, not 'hot'/],
  [['run', '--max-sequences', '0'], /^nacelle: --max-sequences: expected 1 or more, not 0/],
  [['eval', 'x'], /^nacelle: --text is required \(see `nacelle eval --help`\)$/],
  [['serve', '--model', ''], /^nacelle: --model: expected a path or hf:ORG\/NAME, not ''; left out, the built-in demo model is taken \(see/],
  [['run', '--model='], /^nacelle: --model: a value is missing/],
  [['serve', '--model', 'x.gguf', '--model', ''], /^nacelle: --model: expected a path or hf:ORG\/NAME, not ''/],
  [['inspect', '--model', 'x'], /^nacelle: there is no flag '--model'; a model is given without a flag: nacelle inspect FILE/],
  [['eval', '--model', 'x'], /^nacelle: there is no flag '--model'; a model is given without a flag: nacelle eval MODEL/],
  [['health', 'http://127.0.0.1:80'], /^nacelle: there is no argument 'http:\/\/127.0.0.1:80'; a server is given as --url http:\/\/127.0.0.1:80/],
  [['serve', '--host', '999.1.1.1', '--port', '0'], /^nacelle: there is no address '999.1.1.1'; expected one of this machine's, as 127.0.0.1, or 0.0.0.0 for all$/],
  [['serve', '--plugin-sha256', 'abc'], /^nacelle: --plugin-sha256: expected 64 hexadecimal digits, as sha256sum prints them, not 'abc' \(see/],
  [['serve', '--model', `${demo},dev=cpu`, '--port', '0'], /^nacelle: --model \S+: 'dev=cpu' is no setting of a model; expected device=DEVICE$/],
  [['serve', '--model', `me=${demo},dev=cpu`, '--port', '0'], /^nacelle: --model \S+: 'dev=cpu' is no setting of a model; expected device=DEVICE$/],
];
test('a command line that cannot be meant is refused in one line', async () => {
  for (const [flags, line, variables] of refusedCommands) {
    await assert.rejects(run(nacelle, flags, { env: { ...process.env, ...variables } }), ({ code, stderr }) => {
      assert.match(stderr.trimEnd(), line, flags.join(' '));
      assert.deepEqual([code, stderr.trimEnd().split('\n').length], [2, 1], stderr);
      return true;
    });
  }
});

test('a variable without a value names no model, and that is said', async () => {
  const said = async (flags) => {
    const other = await Server.start(...flags);
    await other.stop();
    return other.log.includes('warning NACELLE_MODEL is empty: the built-in demo model is served');
  };
  assert.equal(await said([]), false);
  process.env.NACELLE_MODEL = '';
  try {
    assert.equal(await said([]), true);
    assert.equal(await said(['--model', path.join(root, 'models/demo/nacelle-demo-q8_0.gguf')]), false);
  } finally { delete process.env.NACELLE_MODEL; }
});

test('a port that cannot be had, and what to do', async () => {
  await assert.rejects(run(nacelle, ['serve', '--port', String(server.port)]), /Address already in use; stop what uses it, or choose another port/);
});

test('plugins that are not there', async () => withFolder(async (folder) => {
  const { stderr } = await run(nacelle, ['plugins', '--plugin-dir', '/nonexistent']);
  assert.match(stderr, /plugin folder \/nonexistent: No such file or directory/);
  const alone = path.join(folder, 'bin/nacelle');
  mkdirSync(path.dirname(alone));
  copyFileSync(nacelle, alone);
  await assert.rejects(run(alone, ['run', '--prompt', 'Hello']), ({ stderr: lines }) => {
    assert.match(lines, /no plugins were found, .* looked in: \S+\/lib\/nacelle\/plugins/);
    assert.match(lines, /the built-in demo model: no plugin knows the architecture 'llama'/);
    return true;
  });
}));

test('a tensor that is missing, and the one whose name is near', async () => withFolder(async (folder) => {
  const file = path.join(folder, 'typo.gguf');
  const model = readFileSync(path.join(root, 'models/demo/nacelle-demo-q8_0.gguf'));
  model.write('blk.0.attn_ouptut.weight', model.indexOf('blk.0.attn_output.weight'));
  writeFileSync(file, model);
  await assert.rejects(run(nacelle, ['run', '--model', file, '--prompt', 'Hello']), ({ stderr }) => {
    assert.match(stderr, /weight blk\.0\.attn_output\.weight: tensor 'blk\.0\.attn_output\.weight' is missing from the model file; the file has 'blk\.0\.attn_ouptut\.weight', which is nearly that\n$/);
    return true;
  });
}));

test('an alias of a model that is not served', async () => {
  const other = await Server.start('--alias', 'near=nacelle-demo', '--alias', 'far=nacelle-dmeo');
  await other.stop();
  assert.match(other.log, /--alias far=nacelle-dmeo: no model or adapter of that name is served/);
  assert.doesNotMatch(other.log, /--alias near/);
});

test('a TLS key that does not fit', async () => withFolder(async (folder) => {
  const file = (name) => path.join(folder, name);
  for (const name of ['one', 'two']) {
    execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2', '-subj', `/CN=${name}`,
                             '-keyout', file(`${name}.key`), '-out', file(`${name}.pem`)], { stdio: 'ignore' });
  }
  execFileSync('openssl', ['pkey', '-in', file('one.key'), '-aes128', '-passout', 'pass:secret', '-out', file('locked.key')]);
  for (const [name, fault] of [['two.key', /another certificate's key/], ['locked.key', /is encrypted, expected a key without a passphrase/], ['one.pem', /no private key in PEM/],
                               ['none.key', /no such file/], ['.', /is a folder/]])
    await assert.rejects(Server.start('--tls-cert', file('one.pem'), '--tls-key', file(name)), fault, name);
}));

test('a settings file that is not there, says a thing twice, or has bytes that are no text', async () => withFolder(async (folder) => {
  const file = path.join(folder, 'settings.yaml');
  const said = async (text, line, flags = []) => {
    if (text !== null) writeFileSync(file, text);
    await assert.rejects(run(nacelle, ['serve', '--config', file, ...flags]), ({ stderr }) => {
      assert.equal(stderr.replaceAll(file, 'FILE'), `nacelle: ${line}\n`);
      return true;
    });
  };
  await said(null, '--config FILE: no such file');
  await said('port: 1\nport: 2\n', 'FILE:2: port is there twice');
  await said('port: 1\nport: 2\n', 'FILE:2: port is there twice', ['--port', '0']);
  await said('port: 1\n\tmodel: x\n', 'FILE:2: not YAML: illegal tab when looking for indentation');
  await said('port: "\\\u0007"\n', 'FILE:1: not YAML: unknown escape character: ?');
}));

test('a certificate whose time is over, or not come', async () => withFolder(async (folder) => {
  const file = (name) => path.join(folder, name);
  const options = { stdio: 'ignore' };
  execFileSync('openssl', ['ecparam', '-genkey', '-name', 'prime256v1', '-noout', '-out', file('key')], options);
  const made = (name, days) => {
    execFileSync('openssl', ['req', '-new', '-key', file('key'), '-subj', '/CN=x', '-out', file('request')], options);
    execFileSync('openssl', ['x509', '-req', '-in', file('request'), '-signkey', file('key'), '-days', days, '-out', file(name)], options);
    return file(name);
  };
  for (const [days, warns] of [['2', false], ['-1', true]]) {
    const secure = await Server.start('--tls-cert', made('certificate', days), '--tls-key', file('key'));
    await secure.stop();
    assert.equal(/warning --tls-cert \S+: the certificate has expired; clients will refuse it/.test(secure.log), warns, days);
  }
}));
