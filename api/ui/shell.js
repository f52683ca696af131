// What both pages share: the bar at the top with its switch of colours, the API key's dialog, the way to the other page.
import { announce, byId, el } from './dom.js';
import { key, onKeyWanted } from './server.js';

const kThemes = { system: ['◐', 'as the system'], light: ['☀', 'light'], dark: ['☾', 'dark'] };

function themeButton() {
  const theme = globalThis.nacelleTheme;
  const sign = el('span', { 'aria-hidden': true });
  const button = el('button', { type: 'button', class: 'icon', id: 'theme' }, sign);
  const show = () => {
    const [symbol, text] = kThemes[theme.current()];
    sign.textContent = symbol;
    button.setAttribute('aria-label', `Colours: ${text}`);
    button.title = `Colours: ${text}`;
  };
  button.addEventListener('click', () => {
    theme.choose(theme.names[(theme.names.indexOf(theme.current()) + 1) % theme.names.length]);
    show();
    announce(button.title);
  });
  show();
  return button;
}

// A modal question. Resolves to what `value` gives when it is confirmed, or null.
export function ask({ title, text, content = [], confirm, danger = false, value = () => true }) {
  return new Promise((resolve) => {
    const dialog = el('dialog', { 'aria-labelledby': 'dialog-title' });
    const end = (result) => {
      dialog.close();
      dialog.remove();
      resolve(result);
    };
    dialog.append(el('form', { onsubmit: (event) => { event.preventDefault(); end(value()); } },
      el('h2', { id: 'dialog-title' }, title),
      text ? el('p', {}, text) : null, content,
      el('div', { class: 'actions' },
         el('button', { type: 'button', onclick: () => end(null) }, 'Cancel'),
         el('button', { type: 'submit', class: danger ? 'danger' : 'primary' }, confirm))));
    dialog.addEventListener('cancel', (event) => { event.preventDefault(); end(null); });
    document.body.append(dialog);
    dialog.showModal();
  });
}

let asking = null;
const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1).replace(/([^.])$/, '$1.');

// One dialog at a time, however many requests find that they need a key.
function askForKey({ code, message }) {
  asking ??= (async () => {
    const input = el('input', { type: 'password', id: 'key-text', autocomplete: 'off', required: true, spellcheck: 'false' });
    const given = await ask({
      title: 'API key', text: code === 'missing_api_key' ? 'This server asks for an API key.' : sentence(message), confirm: 'Use this key', value: () => input.value.trim(),
      content: [el('div', { class: 'field' }, el('label', { for: 'key-text' }, 'Key'), input,
                   el('p', { class: 'note' }, 'It stays in this tab, and is forgotten when the tab closes.'))],
    });
    asking = null;
    showKeyButton(given ?? key.get());
    return given;
  })();
  return asking;
}

// `text`: the key there is, '' where one is wanted.
function showKeyButton(text) {
  byId('key-button').hidden = false;
  byId('key-button').textContent = text ? 'Forget key' : 'Enter key';
}

function keyButton() {
  const button = el('button', { type: 'button', id: 'key-button', class: 'quiet', hidden: true });
  button.addEventListener('click', () => {
    key.forget();
    location.reload();  // which asks
  });
  return button;
}

// `first`: before this page's own, so that the two stand in one order on both.
async function addLink(nav, text, first) {
  try {
    const { other_port: port } = await (await fetch('ui/site.json', { cache: 'no-store' })).json();
    if (!port) return;
    const url = new URL('/', location.href);
    url.port = port;
    nav[first ? 'prepend' : 'append'](el('a', { href: url.href }, text));
  } catch { /* no link, then */ }
}

// `here` and `there`: the names of this page and of the other listener's.
export function startShell(here, there) {
  const nav = el('nav', { 'aria-label': 'Pages' }, el('a', { href: './', 'aria-current': 'page' }, here));
  byId('bar').append(el('span', { class: 'brand' }, el('img', { src: 'ui/icon.svg', alt: '', width: 24, height: 24 }), el('span', { class: 'word' }, 'Nacelle')),
                     nav, el('span', { class: 'gap' }), keyButton(), themeButton());
  addLink(nav, there, there < here);
  onKeyWanted(askForKey);
  if (key.get()) showKeyButton(key.get());
}
