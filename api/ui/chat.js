// The chat page: the conversation, and what sends, stops, edits and repeats its turns.
import { newAnswer, requestBody, runAnswer } from './answer.js';
import { announce, byId, copyButton, setOptions } from './dom.js';
import { getJson } from './server.js';
import { Settings } from './settings.js';
import { startShell } from './shell.js';
import { TurnView } from './turns.js';

const kKept = 'nacelle.conversation';
const kDemo = 'nacelle-demo';  // the built-in model: what it knows is offered
const turns = [];
const views = new Map();
let running = null;  // { turn, stop }
let settings;

const list = byId('turns');
const prompt = byId('prompt');

// ---- The conversation ----

const actions = {
  edit(turn, text) {
    turn.content = text;
    if (turn.role === 'assistant') {
      turn.tokens = [];  // they were another text's
      views.get(turn).update();
      return keep();
    }
    cutAfter(turn);
    views.get(turn).update();
    answer();
  },
  regenerate(turn) {
    cutAfter(turn);
    remove(turn);
    answer();
  },
  waits: (turn) => turn.calls.length > 0 && turn.state === 'done' && turns.at(-1) === turn,
  sendResults(turn) {
    for (const { id, result } of turn.calls) addTurn({ role: 'tool', tool_call_id: id, content: result ?? '' });
    views.get(turn).update();
    answer();
  },
};

function addTurn(turn) {
  turns.push(turn);
  const view = new TurnView(turn, actions);
  views.set(turn, view);
  list.append(view.element);
  document.body.classList.toggle('empty', turns.length === 0);
  return view;
}

function remove(turn) {
  turns.splice(turns.indexOf(turn), 1);
  views.get(turn).element.remove();
  views.delete(turn);
  document.body.classList.toggle('empty', turns.length === 0);
}

function cutAfter(turn) {
  stop();
  for (const later of turns.slice(turns.indexOf(turn) + 1)) remove(later);
}

// In this tab only, and no longer than it: what is typed here may be private.
function keep() {
  try {
    sessionStorage.setItem(kKept, JSON.stringify(turns.map((turn) => ({ ...turn, state: turn.state === 'running' ? 'stopped' : turn.state }))));
  } catch { /* too long to keep, or nothing may be kept */ }
}

function restore() {
  try {
    for (const turn of JSON.parse(sessionStorage.getItem(kKept)) ?? []) addTurn(turn.role === 'assistant' ? { ...newAnswer(), ...turn } : turn);
  } catch { /* as new */ }
  for (const view of views.values()) view.update();
}

// ---- Asking ----

async function answer() {
  stop();
  const turn = newAnswer();
  let body;
  try {
    body = requestBody(byId('model').value, settings.system.value, turns, settings.fields());
  } catch (error) {
    Object.assign(turn, { state: 'failed', error: error.message });
    addTurn(turn);
    scrollToEnd();
    return;
  }
  const controller = new AbortController();
  const mine = running = { turn, stop: () => controller.abort() };
  const view = addTurn(turn);
  scrollToEnd();
  showRunning(true);
  announce('The model answers');
  let drawn = false;
  // At most once a frame, however fast the pieces come.
  await runAnswer(turn, body, controller.signal, () => {
    if (drawn) return;
    drawn = true;
    requestAnimationFrame(() => {
      drawn = false;
      const follows = atEnd();
      if (views.has(turn)) view.update();
      if (follows) scrollToEnd();
    });
  });
  if (running === mine) {
    running = null;
    showRunning(false);
  }
  if (!views.has(turn)) return;
  const follows = atEnd();
  view.update();
  if (follows) scrollToEnd();
  if (!turn.error) announce(turn.calls.length ? `The model calls ${turn.calls.map(({ name }) => name).join(', ')}` : `Model: ${turn.content || 'no text'}`);
  if (actions.waits(turn)) view.element.querySelector('.call textarea').focus();
  keep();
}

function stop() {
  running?.stop();
}

function showRunning(is) {
  // The button that had the focus must not vanish with it.
  const focus = document.activeElement === byId('stop') || document.activeElement === byId('send');
  byId('stop').hidden = !is;
  byId('send').hidden = is;
  if (focus) (is ? byId('stop') : prompt).focus();
}

const scroller = byId('scroller');
const atEnd = () => scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 60;
const scrollToEnd = () => { scroller.scrollTop = scroller.scrollHeight; };

function send() {
  const text = prompt.value;
  if (text.trim() === '' || running) return;
  prompt.value = '';
  addTurn({ role: 'user', content: text });
  scrollToEnd();
  answer();
}

// ---- The page ----

// Looked at again while there is none: the server may still be loading.
const kLookAgain = 2000;
let nextLook = 0;

async function listModels() {
  clearTimeout(nextLook);
  try {
    const { data } = await getJson('v1/models');
    if (!data.length) nextLook = setTimeout(listModels, kLookAgain);
    setOptions(byId('model'), data.map(({ id }) => id));
    byId('model-fault').textContent = data.length ? '' : 'No model is loaded.';
    for (const element of document.querySelectorAll('.demo')) element.hidden = !data.some(({ id }) => id === kDemo);
  } catch (error) {
    byId('model-fault').textContent = error.message;
    if (error.status === 0 || error.status >= 500) nextLook = setTimeout(listModels, kLookAgain);
  }
}

function showSettings(shown) {
  document.body.classList.toggle('with-settings', shown);
  byId('show-settings').setAttribute('aria-expanded', shown);
}

function asCurl() {
  const body = requestBody(byId('model').value, settings.system.value, turns.filter((turn, index) => turn.role !== 'assistant' || index + 1 < turns.length), settings.fields());
  const text = JSON.stringify(body, null, 2).replaceAll('\'', '\'\\\'\'');
  return `curl ${new URL('v1/chat/completions', location.href)} -H 'Content-Type: application/json' -H "Authorization: Bearer $NACELLE_KEY" -d '${text}'`;
}

function start() {
  startShell('Chat', 'Operate');
  settings = new Settings(byId('panel'));
  restore();
  listModels();
  byId('tools').append(copyButton('Copy as curl', asCurl));
  byId('composer').addEventListener('submit', (event) => { event.preventDefault(); send(); });
  byId('stop').addEventListener('click', stop);
  byId('model').addEventListener('focus', listModels);
  byId('new-chat').addEventListener('click', () => {
    stop();
    while (turns.length) remove(turns.at(-1));
    keep();
    prompt.focus();
  });
  prompt.addEventListener('keydown', (event) => {
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    send();
  });
  document.addEventListener('keydown', (event) => {
    if (event.key === 'Escape' && running && !document.querySelector('dialog[open]')) stop();
  });
  for (const example of document.querySelectorAll('.example')) {
    example.addEventListener('click', () => { prompt.value = example.textContent; send(); prompt.focus(); });
  }
  byId('show-settings').addEventListener('click', () => showSettings(!document.body.classList.contains('with-settings')));
  byId('hide-settings').addEventListener('click', () => { showSettings(false); byId('show-settings').focus(); });
  showSettings(matchMedia('(min-width: 60rem)').matches);
}

start();
