// /v1/conversations by the openai client, and responses that go on from them.
import assert from 'node:assert/strict';
import test from 'node:test';
import { goldens, missing, model, server } from './harness.mjs';
import { description, faults } from './schema.mjs';

const { client } = server;
const fits = (name, value) => { if (!missing(description)) assert.equal(faults(name, value), undefined); };
const message = (role, content) => ({ type: 'message', role, content });
const all = async (pages) => { const items = []; for await (const item of pages) items.push(item); return items; };

test('a conversation is made, changed, listed and deleted', async () => {
  const made = await client.conversations.create({ metadata: { topic: 'x' }, items: [message('user', 'Hello')] });
  fits('ConversationResource', made);
  assert.match(made.id, /^conv_/);
  assert.deepEqual(await client.conversations.retrieve(made.id), made);
  assert.deepEqual((await client.conversations.update(made.id, { metadata: { topic: 'y' } })).metadata, { topic: 'y' });

  const added = await client.conversations.items.create(made.id, {
    items: [message('assistant', 'Hi'), { type: 'function_call', call_id: 'c', name: 'f', arguments: '{}' }] });
  fits('ConversationItemList', added);
  const items = await all(client.conversations.items.list(made.id, { order: 'asc', limit: 1 }));
  assert.deepEqual(items.map((item) => item.type), ['message', 'message', 'function_call']);
  assert.deepEqual(items.slice(1), added.data);
  const list = await (await server.get(`/v1/conversations/${made.id}/items`)).json();
  fits('ConversationItemList', list);
  assert.deepEqual(list.data, items.toReversed());
  const item = await client.conversations.items.retrieve(items[0].id, { conversation_id: made.id });
  fits('ConversationItem', item);
  assert.deepEqual(item, items[0]);
  const after = await client.conversations.items.delete(items[0].id, { conversation_id: made.id });
  fits('ConversationResource', after);
  assert.equal((await all(client.conversations.items.list(made.id))).length, 2);
  await assert.rejects(client.conversations.items.retrieve(items[0].id, { conversation_id: made.id }), { status: 404 });

  const deleted = await client.conversations.delete(made.id);
  fits('DeletedConversationResource', deleted);
  assert.deepEqual(deleted, { id: made.id, object: 'conversation.deleted', deleted: true });
  await assert.rejects(client.conversations.retrieve(made.id), { status: 404 });
  await assert.rejects(client.conversations.items.create(made.id, { items: [message('user', 'x')] }), { status: 404 });
});

test('responses go on from a conversation and add to it', async () => {
  const [first, , second] = goldens[4].messages;
  const { id } = await client.conversations.create();
  const create = (options) => client.responses.create({ model, temperature: 0, conversation: id, ...options });
  const one = await create({ input: first.content });
  fits('Response', one);
  assert.deepEqual(one.conversation, { id });
  const events = [];
  for await (const event of await create({ input: second.content, stream: true, store: false })) events.push(event);
  const two = events.at(-1).response;
  assert.equal(two.output[0].content[0].text, goldens[4].text);
  const items = await all(client.conversations.items.list(id, { order: 'asc' }));
  assert.deepEqual(items.map(({ role, content }) => [role, content[0].text]),
                   [['user', first.content], ['assistant', one.output_text], ['user', second.content], ['assistant', goldens[4].text]]);
  assert.deepEqual(items[1], one.output[0]);
  assert.equal((await client.responses.inputTokens.count({ model, conversation: id, input: 'x' })).input_tokens,
               (await create({ input: 'x', max_output_tokens: 1 })).usage.input_tokens);
});

test('wrong fields of conversations are named', async () => {
  const { id } = await client.conversations.create({});
  for (const [target, body, param] of [
    ['', { colour: 1 }, 'colour'], ['', { metadata: { a: 1 } }, 'metadata.a'], ['', { items: 'x' }, 'items'],
    ['', { items: [{ role: 'robot', content: 'x' }] }, 'items[0].role'],
    ['', { items: Array(21).fill(message('user', 'x')) }, 'items'], [`/${id}`, {}, 'metadata'],
    [`/${id}/items`, {}, 'items'], [`/${id}/items?limit=1`, { items: [message('user', 'x')] }, 'limit'],
  ]) {
    const answer = await server.post(`/v1/conversations${target}`, body);
    assert.deepEqual([answer.status, answer.body.error.param], [400, param], JSON.stringify(body));
  }
});
