// The chat page against the demo model, on the slow reference device: an answer then takes long enough to be seen and
// stopped.
import assert from 'node:assert/strict';
import test, { after, before } from 'node:test';
import { Server, eventually, freePort, goldens, model } from '../support/server.mjs';
import { answered, ask, lacking, nameless, openSettings, tabWalk, textOf, tooWide, weakContrasts, withPage } from './browser.mjs';

let server;
before(async () => { if (!lacking) server = await Server.start('--device', 'reference', '--manage-port', String(await freePort())); });
after(() => server?.stop());

const options = { skip: lacking };
const story = 'Tell me a short story about a fox named Ruby.';
const capital = 'What is the capital of France?';
const refused = /Failed to load resource: the server responded with a status of 4/;

// A page with the settings that make answers repeatable.
const chat = (pageOptions, use) => withPage(server.url, pageOptions, async (page) => {
  await page.locator('#model option').first().waitFor({ state: 'attached' });
  await openSettings(page, 'Sampling');
  await page.fill('#sampling-temperature', '0');
  if (!await page.locator('#prompt').isVisible()) await page.click('#hide-settings');
  await use(page);
});

// Bodies of the requests for answers, as they are sent.
function watchRequests(page) {
  const bodies = [];
  page.on('request', (request) => { if (request.url().endsWith('/v1/chat/completions')) bodies.push(request.postDataJSON()); });
  return bodies;
}

test('an answer streams in, with its numbers', options, () => chat({}, async (page) => {
  assert.equal(await page.inputValue('#model'), model);
  await page.evaluate(() => {
    globalThis.lengths = new Set();
    new MutationObserver(() => globalThis.lengths.add(document.querySelector('.turn.assistant .body')?.innerText.length ?? 0))
      .observe(document.querySelector('#turns'), { childList: true, subtree: true, characterData: true });
  });
  const answer = await ask(page, story);
  assert.equal(await textOf(answer), goldens[18].text);
  assert.ok(await page.evaluate(() => globalThis.lengths.size) > 5, 'it grew');
  assert.match(await answer.locator('.numbers').innerText(), /first token \d+ ms\s+[\d.,]+ tokens\/s\s+\d+ prompt \+ \d+ answer tokens/);
  // A reload keeps the conversation, in this tab.
  await page.reload();
  assert.equal(await textOf(page.locator('.turn.assistant')), goldens[18].text);
}));

test('stop: by button and by Escape, and the server hears it', options, () => chat({}, async (page) => {
  // An answer that cannot end by itself in time.
  await openSettings(page, 'Form of the answer');
  await page.selectOption('#format', 'regex');
  await page.fill('#format-text', '[a-z]{4000}');
  for (const [round, stop] of [() => page.click('#stop'), () => page.keyboard.press('Escape')].entries()) {
    await page.fill('#prompt', story);
    await page.press('#prompt', 'Enter');
    const answer = page.locator('.turn.assistant');
    await answer.locator('.body', { hasText: /[a-z]/ }).waitFor();
    await stop();
    await answer.locator('.numbers', { hasText: 'stopped' }).waitFor();
    const text = await textOf(answer);
    assert.ok(text.length > 0 && text.length < 4000, text);
    assert.ok(await page.locator('#send').isVisible() && !await page.locator('#stop').isVisible());
    await eventually(() => server.log.split('status=499').length === round + 2);
    await page.click('#new-chat');
  }
}));

test('regenerate, edit, system prompt, sampling', options, () => chat({}, async (page) => {
  const bodies = watchRequests(page);
  await ask(page, capital);
  await ask(page, 'What language do people speak in Brazil?');
  assert.deepEqual(bodies[1].messages.map(({ role }) => role), ['user', 'assistant', 'user']);

  await page.locator('.turn.assistant').nth(1).getByRole('button', { name: 'Regenerate' }).click();
  await answered(page, 1);
  assert.equal(bodies.length, 3);
  assert.deepEqual(bodies[2].messages, bodies[1].messages);
  assert.equal(await page.locator('.turn').count(), 4);

  // An edited question is asked again, and what followed it is gone.
  await page.locator('.turn.user').first().getByRole('button', { name: 'Edit' }).click();
  await page.getByLabel('Edit: You').fill('What is the capital of Japan?');
  await page.getByRole('button', { name: 'Save and ask again' }).click();
  assert.match(await textOf(await answered(page)), /Tokyo/);
  assert.equal(await page.locator('.turn').count(), 2);

  // An edited answer is what the model finds it has said.
  await page.locator('.turn.assistant').getByRole('button', { name: 'Edit' }).click();
  await page.getByLabel('Edit: Model').fill('Kyoto.');
  await page.getByRole('button', { name: 'Save' }).click();
  await openSettings(page, 'System prompt');
  await page.fill('#system', 'Answer in one word.');
  for (const [name, value] of Object.entries({ top_p: '0.9', min_p: '0.05', top_k: '40', max_tokens: '20', seed: '7', repetition_penalty: '1.05', frequency_penalty: '0.1', presence_penalty: '0.2' })) {
    await page.fill(`#sampling-${name}`, value);
  }
  await page.fill('#stop-at', 'END\n###');
  await ask(page, capital);
  const { messages, ...sent } = bodies.at(-1);
  assert.deepEqual(messages.map(({ role, content }) => [role, content]),
                   [['system', 'Answer in one word.'], ['user', 'What is the capital of Japan?'], ['assistant', 'Kyoto.'], ['user', capital]]);
  assert.deepEqual(sent, { model, temperature: 0, top_p: 0.9, min_p: 0.05, top_k: 40, max_tokens: 20, seed: 7, repetition_penalty: 1.05, frequency_penalty: 0.1,
                           presence_penalty: 0.2, stop: ['END', '###'], stream: true, stream_options: { include_usage: true } });

  await page.click('#reset');
  assert.equal(await page.inputValue('#sampling-top_p'), '');
  await page.click('#new-chat');
  assert.equal(await page.locator('.turn').count(), 0);
  await page.fill('#sampling-temperature', '0');
  assert.equal(await textOf(await ask(page, 'What is the capital of Japan?')), goldens[3].text);
}));

test('an answer that was cut says so; a failure is one line', options, () => chat({ expected: [refused] }, async (page) => {
  await page.fill('#sampling-max_tokens', '3');
  assert.match(await (await ask(page, story)).locator('.numbers').innerText(), /cut at the limit of tokens/);
  await page.fill('#sampling-temperature', '7');
  const failed = await ask(page, capital);
  const error = failed.locator('.error');
  assert.match(await error.innerText(), /^'temperature' must be a number from 0\.0 to 2\.0, not 7$/);
  assert.equal(await error.getAttribute('role'), 'alert');
  assert.ok(await error.isVisible());
  await page.fill('#sampling-temperature', '0');
  await page.fill('#sampling-max_tokens', '');
  await failed.getByRole('button', { name: 'Try again' }).click();
  await page.locator('.turn.assistant').nth(1).locator('.body', { hasText: 'Paris' }).waitFor();
}));

test('forms of an answer', options, () => chat({ expected: [refused] }, async (page) => {
  const bodies = watchRequests(page);
  await openSettings(page, 'Form of the answer');
  // Each form has an example of its own, and keeps what is typed over it.
  const editor = page.locator('#format-text');
  await page.selectOption('#format', 'regex');
  assert.equal(await editor.inputValue(), '[A-Z][a-z]+');
  await editor.fill('[A-Z]');
  await page.selectOption('#format', 'json_schema');
  assert.equal(JSON.parse(await editor.inputValue()).type, 'object');
  await page.selectOption('#format', 'regex');
  assert.equal(await editor.inputValue(), '[A-Z]');
  await page.selectOption('#format', 'json_schema');
  await page.fill('#format-text', '{"type": "object", ');
  assert.match(await page.locator('#format-text-fault').innerText(), /Not JSON/);
  assert.match(await (await ask(page, 'Hello')).locator('.error').innerText(), /not JSON/);
  assert.equal(bodies.length, 0, 'nothing was sent');

  await page.fill('#format-text', JSON.stringify({ type: 'object', properties: { town: { type: 'string', maxLength: 12 }, rank: { type: 'integer', minimum: 1, maximum: 3 } },
                                                   required: ['town', 'rank'], additionalProperties: false }));
  const answer = JSON.parse(await textOf(await ask(page, 'Give me the capital of France as JSON.')));
  assert.deepEqual(Object.keys(answer), ['town', 'rank']);
  assert.ok([1, 2, 3].includes(answer.rank));

  await page.selectOption('#format', 'choice');
  await page.fill('#format-text', 'red\ngreen');
  assert.match(await textOf(await ask(page, capital)), /^(red|green)$/);
  await page.selectOption('#format', 'regex');
  await page.fill('#format-text', '[0-9]{4}');
  assert.match(await textOf(await ask(page, capital)), /^\d{4}$/);
  await page.fill('#format-text', '[0-9');
  assert.match(await (await ask(page, capital)).locator('.error').innerText(), /regex/);
}));

test('tools: a call, a place for its result, the answer after it', options, () => chat({}, async (page) => {
  const golden = goldens[16];
  await openSettings(page, 'Tools');
  await page.check('#use-tools');
  await page.fill('#tools-text', JSON.stringify(golden.tools));
  assert.deepEqual(await page.locator('#tool-choice option').allInnerTexts(), ['The model decides', 'No call', 'Some call', 'Call get_weather']);
  const call = await ask(page, golden.messages[0].content);
  assert.match(await call.locator('.call').innerText(), /calls get_weather[\s\S]*"city": "Oslo"/);
  const result = page.getByLabel('Result of get_weather');
  await eventually(() => result.evaluate((element) => element === document.activeElement));
  await page.keyboard.type(goldens[17].messages[2].content);
  await page.getByRole('button', { name: 'Send the result' }).click();
  assert.equal(await textOf(await answered(page, 1)), goldens[17].text);

  const bodies = watchRequests(page);
  await page.selectOption('#tool-choice', '=get_weather');
  await page.click('#new-chat');
  assert.match(await (await ask(page, capital)).locator('.call').innerText(), /calls get_weather/);
  assert.deepEqual(bodies[0].tool_choice, { type: 'function', function: { name: 'get_weather' } });
}));

test('tokens: colours by probability, alternatives by pointer and by keyboard', options, () => chat({}, async (page) => {
  await openSettings(page, 'Tokens');
  await page.check('#use-tokens');
  await page.fill('#alternatives', '4');
  const answer = await ask(page, story);
  const { body } = await server.post('/v1/chat/completions', { messages: [{ role: 'user', content: story }], temperature: 0, logprobs: true, top_logprobs: 4 });
  const expected = body.choices[0].logprobs.content;
  const tokens = answer.locator('.token');
  assert.deepEqual(await tokens.allTextContents(), expected.map(({ token }) => token));
  const opacities = await tokens.evaluateAll((spans) => spans.map((span) => Number(getComputedStyle(span).backgroundColor.match(/\/ ([\d.]+)\)$/)?.[1] ?? 1)));
  expected.forEach(({ logprob }, index) => assert.ok(Math.abs(opacities[index] - 0.8 * (1 - Math.exp(logprob))) < 0.01, `${expected[index].token}: ${opacities[index]}`));
  assert.ok(Math.max(...opacities) > 0.2 && Math.min(...opacities) < 0.01, 'there are both kinds');

  const tip = page.getByRole('tooltip');
  const shows = async (index) => {
    assert.ok(await tip.isVisible());
    const [chosen, ...others] = await tip.locator('.row').allInnerTexts();
    const { token, top_logprobs: top } = expected[index];
    assert.ok(chosen.includes(token.trim()), chosen);
    assert.equal(others.length, top.filter((other) => other.token !== token).length);
    assert.match(chosen, /\d %$/);
    assert.equal(await tokens.nth(index).getAttribute('aria-describedby'), await tip.getAttribute('id'));
  };
  await tokens.nth(5).hover();
  await shows(5);
  await page.mouse.move(0, 0);
  assert.ok(!await tip.isVisible());
  await tokens.first().focus();
  await shows(0);
  await page.keyboard.press('ArrowRight');
  await page.keyboard.press('ArrowRight');
  await shows(2);
  await page.keyboard.press('End');
  await shows(expected.length - 1);
  await page.keyboard.press('Escape');
  assert.ok(!await tip.isVisible());

  await answer.getByRole('button', { name: 'Tokens' }).click();
  assert.equal(await tokens.count(), 0);
  assert.equal(await textOf(answer), goldens[18].text);
}));

// The demo model does not think: a stream as another model's is put in the server's place.
test('reasoning is folded; Markdown becomes elements, markup does not', options, () => chat({}, async (page) => {
  const deltas = [{ role: 'assistant' }, { reasoning_content: 'Let me see.' }, { content: '## Two\n\n1. `a`\n2. **b**\n\n```js\nx < 1\n```\n\n| p | q |\n|---|---|\n| 1 | 2 |\n\n' },
                  { content: '<img src=x onerror=alert(1)> [t](javascript:alert(1)) [u](https://example.org/)' }];
  const body = `${deltas.map((delta) => `data: ${JSON.stringify({ choices: [{ index: 0, delta, finish_reason: null }] })}\n\n`).join('')}data: [DONE]\n\n`;
  await page.route('**/v1/chat/completions', (route) => route.fulfill({ contentType: 'text/event-stream', body }));
  const answer = await ask(page, 'Anything');
  assert.ok(!await answer.getByText('Let me see.').isVisible());
  await answer.locator('.reasoning summary').click();
  assert.ok(await answer.getByText('Let me see.').isVisible());
  assert.deepEqual(await answer.locator('.body').evaluate((element) => [...element.children].map(({ localName }) => localName)), ['h4', 'ol', 'figure', 'div', 'p']);
  assert.equal(await answer.locator('.body img').count(), 0);
  assert.deepEqual(await answer.locator('.body a').evaluateAll((links) => links.map((link) => link.href)), ['https://example.org/']);
  assert.match(await answer.locator('.body > p').innerText(), /<img src=x onerror=alert\(1\)> \[t\]\(javascript:alert\(1\)\)/);
}));

test('by keyboard alone', options, () => chat({}, async (page) => {
  await ask(page, capital);
  for (const details of await page.locator('#panel > details').all()) {
    if (await details.getAttribute('open') !== null) continue;
    await details.locator('> summary').focus();
    await page.keyboard.press('Enter');
    assert.notEqual(await details.getAttribute('open'), null);
  }
  await page.locator('#use-tools').focus();
  await page.keyboard.press('Space');
  const { unreached, unsigned } = await tabWalk(page);
  assert.deepEqual([unreached, unsigned], [[], []]);
  assert.deepEqual(await nameless(page), []);
  // The page's first link leads past the bar.
  assert.equal(await page.evaluate(() => document.querySelector('a[href], button, [tabindex]').textContent), 'To the message box');
  await page.locator('.skip').focus();
  await page.keyboard.press('Enter');
  await page.keyboard.type('What is the capital of Japan?');
  await page.keyboard.press('Enter');
  assert.match(await textOf(await answered(page, 1)), /Tokyo/);
  assert.equal(await page.evaluate(() => document.activeElement.id), 'prompt', 'ready for the next');
}));

test('light and dark', options, () => chat({ dark: true }, async (page) => {
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  await openSettings(page, 'Tokens');
  await page.check('#use-tokens');
  await ask(page, story);
  const dark = await ground();
  assert.deepEqual(await weakContrasts(page), []);
  const button = page.getByRole('button', { name: /^Colours/ });
  assert.equal(await button.getAttribute('aria-label'), 'Colours: as the system');
  await button.click();
  assert.equal(await button.getAttribute('aria-label'), 'Colours: light');
  const light = await ground();
  assert.notEqual(light, dark);
  assert.deepEqual(await weakContrasts(page), []);
  await page.reload();
  assert.equal(await ground(), light, 'the choice is kept');
  await button.click();
  assert.equal(await ground(), dark);
}));

test('360 pixels wide', options, () => chat({ width: 360, height: 700 }, async (page) => {
  assert.deepEqual(await tooWide(page), []);
  await ask(page, story);
  assert.deepEqual(await tooWide(page), []);
  await openSettings(page, 'Tools');
  await page.check('#use-tools');
  await page.locator('#panel > details:not([open]) > summary').evaluateAll((all) => all.forEach((one) => one.click()));
  assert.deepEqual(await tooWide(page), []);
  await page.click('#hide-settings');
  assert.ok(await page.locator('#prompt').isVisible());
  assert.equal(await page.evaluate(() => document.activeElement.id), 'show-settings');
}));

test('360 pixels wide: a long model name, and a table', options, () => chat({ width: 360, height: 700 }, async (page) => {
  const table = '| one | two | three | four | five | six | seven | eight |\n|---|---|---|---|---|---|---|---|\n| a long cell | b | c | d | e | f | g | h |\n';
  await page.route('**/v1/models', (route) => route.fulfill({ json: { object: 'list', data: [{ id: 'an-organisation/A-Model-Of-A-Very-Long-Name-Q4_K_M' }] } }));
  await page.route('**/v1/chat/completions', (route) => route.fulfill({ contentType: 'text/event-stream',
    body: `data: ${JSON.stringify({ choices: [{ index: 0, delta: { content: table }, finish_reason: 'stop' }] })}\n\ndata: [DONE]\n\n` }));
  await page.reload();
  await page.locator('#model option', { hasText: 'an-organisation' }).waitFor({ state: 'attached' });
  const answer = await ask(page, 'A table?');
  assert.deepEqual(await tooWide(page), []);
  const title = await answer.locator('th', { hasText: 'three' }).boundingBox();
  assert.ok(title.width >= 40, `a word of a title has ${title.width} pixels`);
}));
