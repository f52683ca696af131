// An answer token by token: the colour says how probable each was, the arrow keys or the pointer show what else it might
// have been.
import { byId, el, percent } from './dom.js';

const kCommand = 'tokens-tip';
const probability = (logprob) => Math.exp(Math.min(logprob, 0));

// Part of a character stays bytes; what nobody can see gets a sign.
export function visible({ token, bytes }) {
  if (token.includes('\uFFFD') && bytes) return `‹${bytes.map((byte) => byte.toString(16).padStart(2, '0')).join(' ')}›`;
  return token.replace(/\t/g, '⇥\t').replace(/\r/g, '␍');
}

const quoted = (token) => `“${visible(token).replace(/\n/g, '⏎').replace(/ /g, '␣')}”`;

function tip() {
  const found = byId(kCommand);
  if (found) return found;
  const made = el('div', { id: kCommand, role: 'tooltip', class: 'tip', hidden: true });
  document.body.append(made);
  return made;
}

function bar(entry, chosen) {
  const share = probability(entry.logprob);
  const track = el('span', { class: 'track', 'aria-hidden': true }, el('span', { class: 'amount' }));
  track.firstChild.style.setProperty('--share', share);
  return el('div', { class: chosen ? 'row chosen' : 'row' }, el('span', { class: 'text' }, quoted(entry)), track,
            el('span', { class: 'number' }, percent(share)));
}

function showTip(span, token) {
  const box = tip();
  const others = token.top_logprobs.filter((other) => other.token !== token.token);
  box.replaceChildren(bar(token, true), ...others.map((other) => bar(other, false)),
                      others.length === 0 ? el('p', { class: 'note' }, 'No alternatives were asked for.') : '');
  box.hidden = false;
  const place = span.getClientRects()[0] ?? span.getBoundingClientRect();
  const { width, height } = box.getBoundingClientRect();
  const left = Math.max(8, Math.min(place.left, document.documentElement.clientWidth - width - 8));
  const below = place.bottom + 6 + height < innerHeight;
  box.style.setProperty('--x', `${left}px`);
  box.style.setProperty('--y', `${below ? place.bottom + 6 : Math.max(8, place.top - height - 6)}px`);
  span.setAttribute('aria-describedby', kCommand);
}

function hideTip() {
  tip().hidden = true;
  document.querySelector(`[aria-describedby="${kCommand}"]`)?.removeAttribute('aria-describedby');
}

const kSteps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 10, ArrowUp: -10, Home: -Infinity, End: Infinity };

export class TokenView {
  constructor() {
    this.tokens = [];
    this.list = el('div', { class: 'tokens', role: 'group', 'aria-label': 'Tokens of the answer; arrow keys move, each tells its alternatives' });
    this.element = el('div', {}, this.list, el('p', { class: 'legend' }, 'probable', el('span', { class: 'scale', 'aria-hidden': true }), 'improbable'));
    const at = (event) => [...this.list.children].indexOf(event.target.closest('.token'));
    const show = (event) => {
      const index = at(event);
      if (index >= 0) showTip(this.list.children[index], this.tokens[index]);
    };
    this.list.addEventListener('pointerover', show);
    this.list.addEventListener('focusin', show);
    this.list.addEventListener('pointerout', hideTip);
    this.list.addEventListener('focusout', hideTip);
    this.list.addEventListener('keydown', (event) => {
      if (event.key === 'Escape') hideTip();
      if (!(event.key in kSteps)) return;
      event.preventDefault();
      this.focus(Math.max(0, Math.min(at(event) + kSteps[event.key], this.tokens.length - 1)));
    });
  }

  // One token of the list is reached by Tab; the arrows move on from it.
  focus(index) {
    for (const span of this.list.querySelectorAll('[tabindex="0"]')) span.tabIndex = -1;
    this.list.children[index].tabIndex = 0;
    this.list.children[index].focus();
  }

  // `tokens`: the whole list; those beyond what is shown are added.
  update(tokens) {
    for (const token of tokens.slice(this.tokens.length)) {
      const span = el('span', { class: 'token', tabindex: this.tokens.length === 0 ? 0 : -1 }, visible(token).replace(/\n/g, '⏎\n'));
      span.style.setProperty('--p', probability(token.logprob).toFixed(4));
      this.list.append(span);
      this.tokens.push(token);
    }
  }
}
