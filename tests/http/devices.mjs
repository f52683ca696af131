// A device that is lost while it serves: a 503 that can be retried, and probes that follow.
import assert from 'node:assert/strict';
import path from 'node:path';
import test from 'node:test';
import { Server, model, paris } from './harness.mjs';

const build = path.resolve(path.dirname(process.env.NACELLE), '..');

test('a lost device answers 503, and so do later requests and /readyz', async () => {
  const lossy = await Server.start(
    '--plugin-dir', path.join(build, 'faulty_plugins'), '--device', 'faulty', '--plugin-config', 'backend.faulty.fault=device_lost',
    '--plugin-config', 'backend.faulty.steps=4', '--plugin-config',
    `backend.faulty.target=${path.join(build, 'lib/nacelle/plugins/libnacelle_backend_cpu.so')}`);
  try {
    assert.equal((await lossy.get('/readyz')).status, 200);
    const body = { model, messages: paris, temperature: 0, max_tokens: 50 };
    for (const expected of [/^the device faulty is lost/, /^the device faulty is lost/]) {
      const response = await fetch(`${lossy.url}/v1/chat/completions`, {
        method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body),
      });
      assert.equal(response.status, 503);
      assert.ok(response.headers.get('retry-after'));
      const { error } = await response.json();
      assert.match(error.message, expected);
      assert.equal(error.type, 'server_error');
    }
    const ready = await lossy.get('/readyz');
    assert.equal(ready.status, 503);
    assert.deepEqual(await ready.json(), { status: 'device lost' });
    assert.equal((await lossy.get('/livez')).status, 200);
  } finally {
    await lossy.stop();
  }
});
