// GET /metrics: names and types, counts that add up over a scripted load, and what promtool says of it.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { Server, eventually, model, paris, root } from './harness.mjs';

// Samples by name and labels ("name{a=\"b\"}"), and types by family.
export function parse(text) {
  const samples = new Map();
  const types = new Map();
  for (const line of text.split('\n')) {
    const type = line.match(/^# TYPE (\S+) (\S+)$/);
    if (type) types.set(type[1], type[2]);
    const sample = line.match(/^([^#\s{]+(?:\{.*\})?) (\S+)$/);
    if (sample) samples.set(sample[1], Number(sample[2]));
  }
  return { samples, types };
}

// What a server says now of its model.
export const sampleOf = async (from, name) => parse(await (await from.get('/metrics')).text()).samples.get(`${name}{model_name="${model}"}`);

const promtool = process.env.NACELLE_PROMTOOL || 'promtool';
const check = (args, input) => spawnSync(promtool, ['check', ...args], { input, encoding: 'utf8' });
const lacking = () => {
  if (!check(['metrics'], '').error || process.env.CI === 'true') return false;
  return 'needs promtool (Debian\'s package prometheus)';
};

const expected = {
  nacelle_num_requests_running: 'gauge', nacelle_num_requests_waiting: 'gauge', nacelle_kv_cache_usage_perc: 'gauge',
  nacelle_num_preemptions_total: 'counter', nacelle_prompt_tokens_total: 'counter', nacelle_generation_tokens_total: 'counter',
  nacelle_prefix_cache_queries_total: 'counter', nacelle_prefix_cache_hits_total: 'counter', nacelle_requests_total: 'counter', nacelle_requests_rejected_total: 'counter', nacelle_request_success_total: 'counter',
  nacelle_request_failure_total: 'counter', nacelle_engine_steps_total: 'counter', nacelle_spec_decode_num_draft_tokens_total: 'counter',
  nacelle_spec_decode_num_accepted_tokens_total: 'counter', nacelle_step_seconds_total: 'counter', nacelle_engine_cpu_seconds_total: 'counter',
  nacelle_time_to_first_token_seconds: 'histogram', nacelle_inter_token_latency_seconds: 'histogram',
  nacelle_request_queue_time_seconds: 'histogram', nacelle_e2e_request_latency_seconds: 'histogram',
  nacelle_iteration_tokens: 'histogram', nacelle_lora_requests_info: 'gauge', nacelle_http_requests_total: 'counter',
  nacelle_http_request_duration_seconds: 'histogram', nacelle_http_connections: 'gauge', nacelle_http_requests_active: 'gauge',
  nacelle_device_memory_total_bytes: 'gauge', nacelle_device_memory_free_bytes: 'gauge', nacelle_model_weights_bytes: 'gauge',
  nacelle_kv_cache_bytes: 'gauge', nacelle_model_info: 'gauge', nacelle_build_info: 'gauge',
  process_resident_memory_bytes: 'gauge', process_cpu_seconds_total: 'counter', process_open_fds: 'gauge',
  process_start_time_seconds: 'gauge',
};

test('metrics add up', async () => {
  const server = await Server.start('--max-sequences', '2');
  const scrape = async () => parse(await (await server.get('/metrics')).text());
  try {
    const create = (options) => server.client.chat.completions.create({ model, messages: paris, temperature: 0, ...options });
    const answers = [await create(), await create({ max_tokens: 2 })];
    answers.push(...await Promise.all([1, 2, 3].map(() => create({ max_tokens: 4 }))));
    const stream = await create({ stream: true, ignore_eos: true });
    for await (const chunk of stream) { void chunk; break; }  // leaves
    await assert.rejects(create({ model: 'other' }), { status: 404 });
    await server.get('/no/such/path');

    // The cancel reaches the engine within a step, and the log of the last request is written after its answer.
    const { samples, types } = await eventually(async () => {
      const now = await scrape();
      return now.samples.get(`nacelle_request_failure_total{model_name="${model}",finished_reason="abort"}`) === 1 &&
        now.samples.get('nacelle_http_requests_total{method="POST",route="/v1/chat/completions",status="499"}') === 1 && now;
    });
    const [, cache] = [...samples].find(([name]) => name.startsWith('nacelle_kv_cache_bytes{'));
    assert.ok(cache > 0 && cache < 8 << 20, `room for two sequences of 1,024 tokens, not for the default 32: ${cache}`);
    const value = (name, labels = '') => {
      const key = `${name}{model_name="${model}"${labels}}`;
      assert.ok(samples.has(key), key);
      return samples.get(key);
    };
    const sum = (field) => answers.reduce((total, answer) => total + answer.usage[field], 0);
    assert.equal(value('nacelle_requests_total'), 6);
    assert.equal(value('nacelle_request_success_total', ',finished_reason="stop"'), 1);
    assert.equal(value('nacelle_request_success_total', ',finished_reason="length"'), 4);
    assert.equal(value('nacelle_num_requests_running'), 0);
    assert.equal(value('nacelle_num_requests_waiting'), 0);
    assert.ok(value('nacelle_generation_tokens_total') > sum('completion_tokens'));
    assert.equal(value('nacelle_prefix_cache_queries_total'), sum('prompt_tokens') * 6 / 5);
    assert.equal(value('nacelle_prompt_tokens_total') + value('nacelle_prefix_cache_hits_total'), sum('prompt_tokens') * 6 / 5);
    const long = [{ role: 'user', content: 'word '.repeat(100) }];
    await create({ messages: long, max_tokens: 1 });
    const again = await create({ messages: long, max_tokens: 1 });
    const { cached_tokens: hits } = again.usage.prompt_tokens_details;
    assert.ok(hits > 64);
    await eventually(async () => (await scrape()).samples.get(`nacelle_prefix_cache_hits_total{model_name="${model}"}`) ===
      hits + value('nacelle_prefix_cache_hits_total'));
    assert.equal(value('nacelle_time_to_first_token_seconds_count'), 6);
    assert.equal(value('nacelle_request_queue_time_seconds_count'), 6);
    assert.equal(value('nacelle_e2e_request_latency_seconds_count'), 5);
    assert.equal(value('nacelle_inter_token_latency_seconds_count') + 6, value('nacelle_generation_tokens_total'));
    assert.equal(value('nacelle_iteration_tokens_count'), value('nacelle_engine_steps_total'));
    assert.ok(value('nacelle_step_seconds_total', ',phase="device"') > 0);
    assert.equal(samples.get('nacelle_http_requests_total{method="POST",route="/v1/chat/completions",status="200"}'), 5);
    assert.equal(samples.get('nacelle_http_requests_total{method="POST",route="/v1/chat/completions",status="404"}'), 1);
    assert.equal(samples.get('nacelle_http_requests_total{method="other",route="other",status="404"}'), 1);
    for (const [name, type] of Object.entries(expected)) assert.equal(types.get(name), type, name);
    for (const [name] of types) assert.ok(name in expected, `${name} is not in the test's list`);
  } finally {
    await server.stop();
  }
});

test('promtool finds no fault', { skip: lacking() }, async () => {
  const server = await Server.start();
  try {
    await server.client.chat.completions.create({ model, messages: paris });
    const { status, stdout, stderr } = check(['metrics'], await (await server.get('/metrics')).text());
    assert.equal(status, 0, stdout + stderr);
  } finally {
    await server.stop();
  }
});

test('dashboard and alerts name metrics that exist', async () => {
  const names = new Set(Object.entries(expected).flatMap(([name, type]) =>
    (type === 'histogram' ? [`${name}_bucket`, `${name}_sum`, `${name}_count`] : [name])));
  for (const file of ['dashboard.json', 'alerts.yaml']) {
    const text = readFileSync(path.join(root, 'docs/monitoring', file), 'utf8');
    const named = new Set(text.match(/\b(nacelle|process)_[a-z0-9_]+\b/g));
    assert.ok(named.size > 5);
    for (const name of named) assert.ok(names.has(name), `${file}: ${name}`);
  }
  const { panels } = JSON.parse(readFileSync(path.join(root, 'docs/monitoring/dashboard.json'), 'utf8'));
  assert.ok(panels.every((panel) => panel.targets.every((target) => target.expr && target.refId)));
});

test('promtool finds no fault in the alert rules', { skip: lacking() }, () => {
  const { status, stdout, stderr } = check(['rules', path.join(root, 'docs/monitoring/alerts.yaml')]);
  assert.equal(status, 0, stdout + stderr);
});
