// Opens pages in headless Chromium, and holds each to what holds always: nothing on the console, nothing that the
// Content-Security-Policy had to stop, no request to anywhere else.
import assert from 'node:assert/strict';
import { accessSync, constants } from 'node:fs';
import path from 'node:path';
import { require } from '../support/server.mjs';

function findChromium() {
  const names = ['chromium-headless-shell', 'chromium', 'google-chrome', 'chrome'];
  const folders = process.env.PATH.split(':');
  const candidates = [process.env.NACELLE_CHROMIUM, ...names.flatMap((name) => folders.map((folder) => path.join(folder, name)))];
  return candidates.find((file) => {
    try { return file && (accessSync(file, constants.X_OK), true); } catch { return false; }
  });
}

const executablePath = findChromium();
// Why a test of the page is skipped, or false.
export const lacking = executablePath ? false : 'needs Chromium (apt-get install chromium-headless-shell)';

let browser;
export async function closeBrowser() { await browser?.close(); }

// `use(page)` with a page at `url`; `expected`: patterns of console messages that the test provokes (a refused request
// is one). Options: width, height, dark.
export async function withPage(url, { width = 1200, height = 800, dark = false, expected = [] }, use) {
  browser ??= await require('playwright-core').chromium.launch({ executablePath, args: ['--no-sandbox'] });
  const context = await browser.newContext({ viewport: { width, height }, colorScheme: dark ? 'dark' : 'light', reducedMotion: 'reduce' });
  const page = await context.newPage();
  page.setDefaultTimeout(30_000);
  const faults = [];
  page.on('console', (message) => { if (['error', 'warning'].includes(message.type())) faults.push(message.text()); });
  page.on('pageerror', (error) => faults.push(String(error)));
  page.on('request', (request) => { if (new URL(request.url()).origin !== new URL(url).origin) faults.push(`a request to ${request.url()}`); });
  await page.exposeFunction('policyStopped', (what) => faults.push(`the policy stopped ${what}`));
  await page.addInitScript(() => addEventListener('securitypolicyviolation', (event) => globalThis.policyStopped(`${event.violatedDirective} ${event.blockedURI}`)));
  try {
    await page.goto(url);
    await use(page);
    assert.deepEqual(faults.filter((fault) => !expected.some((pattern) => pattern.test(fault))), []);
  } finally {
    await context.close();
  }
}

// ---- The chat page ----

export async function openSettings(page, title) {
  if (!await page.locator('#settings').isVisible()) await page.click('#show-settings');
  const section = page.locator('#panel > details', { has: page.locator('summary', { hasText: title }) });
  if (await section.getAttribute('open') === null) await section.locator('summary').first().click();
}

// Sends a message and waits for the whole of its answer; gives the answer's element.
export async function ask(page, text) {
  const before = await page.locator('.turn.assistant').count();
  await page.fill('#prompt', text);
  await page.press('#prompt', 'Enter');
  return answered(page, before);
}

export async function answered(page, before = 0) {
  const answer = page.locator('.turn.assistant').nth(before);
  await answer.and(page.locator('[aria-busy="false"]')).waitFor();
  return answer;
}

export const textOf = (answer) => answer.locator('.body').innerText();

// ---- What holds on every page ----

// Contrast of each visible text against what is painted behind it, by WCAG 2: those that are too weak.
export const weakContrasts = (page) => page.evaluate(() => {
  const context = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const rgba = (color) => {
    context.clearRect(0, 0, 1, 1);
    context.fillStyle = color;
    context.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = context.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = ([r, g, b, a], below) => [r, g, b].map((channel, i) => channel * a + below[i] * (1 - a));
  const behind = (element) => {
    if (!element) return [255, 255, 255];
    const color = rgba(getComputedStyle(element).backgroundColor);
    return color[3] === 1 ? color.slice(0, 3) : over(color, behind(element.parentElement));
  };
  const light = (color) => color.map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const weak = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility() || element.closest('.unseen, .skip, noscript, option, :disabled')) continue;
    const ground = behind(element);
    const style = getComputedStyle(element);
    const ink = over(rgba(element instanceof SVGElement ? style.fill : style.color), ground);
    const [low, high] = [light(ground), light(ink)].sort((a, b) => a - b);
    const ratio = (high + 0.05) / (low + 0.05);
    if (ratio < 4.5) weak.push(`${ratio.toFixed(2)}: ${walker.currentNode.data.trim().slice(0, 40)}`);
  }
  return weak;
});

// Controls that a screen reader would find without a name.
export async function nameless(page) {
  const session = await page.context().newCDPSession(page);
  const { nodes } = await session.send('Accessibility.getFullAXTree');
  const controls = new Set(['button', 'textbox', 'combobox', 'checkbox', 'slider', 'spinbutton', 'link', 'image', 'dialog', 'table']);
  return nodes.filter(({ ignored, role, name }) => !ignored && controls.has(role?.value) && !name?.value)
    .map(({ role, backendDOMNodeId }) => `${role.value} ${backendDOMNodeId}`);
}

// Presses Tab through the page; what could have the focus and never got it, and what had it without a sign of it.
export async function tabWalk(page) {
  const wanted = await page.evaluate(() => {
    const all = [...document.querySelectorAll('a[href], button, input, select, textarea, summary, [tabindex]')]
      .filter((element) => element.tabIndex >= 0 && !element.disabled && element.checkVisibility({ visibilityProperty: true }) && !element.closest('[hidden]'));
    all.forEach((element, index) => { element.dataset.walk = index; });
    document.activeElement?.blur();
    return all.map((element) => element.outerHTML.slice(0, 80));
  });
  const unsigned = [];
  const reached = new Set();
  for (let presses = 0; presses < 2 * wanted.length && reached.size < wanted.length; ++presses) {
    await page.keyboard.press('Tab');
    const focus = await page.evaluate(() => {
      const element = document.activeElement;
      return { walk: element.dataset.walk, sign: getComputedStyle(element).outlineStyle !== 'none', html: element.outerHTML.slice(0, 80) };
    });
    if (focus.walk === undefined) continue;
    reached.add(focus.walk);
    if (!focus.sign) unsigned.push(focus.html);
  }
  return { unreached: wanted.filter((_, index) => !reached.has(String(index))), unsigned };
}

// Elements that stand out of a page that must not scroll sideways.
export const tooWide = (page) => page.evaluate(() => {
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth > width) return [`the page is ${document.documentElement.scrollWidth} wide, not ${width}`];
  return [...document.querySelectorAll('button, input, select, textarea, a, h1, h2, h3, p')]
    .filter((element) => element.checkVisibility() && !element.closest('.unseen, .skip, .scroll, pre') && element.getBoundingClientRect().right > width + 0.5)
    .map((element) => element.outerHTML.slice(0, 80));
});
