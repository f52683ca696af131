// How a turn of the conversation looks. A view follows its turn by update().
import { statistics } from './answer.js';
import { copyButton, el } from './dom.js';
import { markdown } from './markdown.js';
import { TokenView } from './tokens.js';

const kRoles = { user: 'You', assistant: 'Model', tool: 'Tool result' };

const button = (text, onclick, properties = {}) => el('button', { type: 'button', class: 'quiet', onclick, ...properties }, text);

function pretty(json) {
  try { return JSON.stringify(JSON.parse(json), null, 2); } catch { return json; }
}

// A call of a tool; `answer` is set while its result is waited for.
function callCard(call, answer) {
  const card = el('div', { class: 'call' },
    el('p', { class: 'call-name' }, 'calls ', el('code', {}, call.name)), el('pre', { tabindex: 0 }, el('code', {}, pretty(call.text))));
  if (answer) {
    const area = el('textarea', { rows: 2, class: 'mono', id: `result-${call.id}`, placeholder: '{"temperature": 12, "condition": "rainy"}', oninput: () => { call.result = area.value; } });
    area.value = call.result ?? '';
    card.append(el('div', { class: 'field' }, el('label', { for: area.id }, `Result of ${call.name}`), area));
  }
  return card;
}

export class TurnView {
  // `actions`: { edit(turn, text), regenerate(turn), sendResults(turn), waits(turn) }
  constructor(turn, actions) {
    this.turn = turn;
    this.actions = actions;
    this.body = el('div', { class: 'body' });
    this.reasoningText = el('div', { class: 'reasoning-text' });
    this.reasoningTitle = el('summary');
    this.reasoning = el('details', { class: 'reasoning', hidden: true }, this.reasoningTitle, this.reasoningText);
    this.calls = el('div', { class: 'calls' });
    this.error = el('p', { class: 'error', role: 'alert', hidden: true });
    this.numbers = el('p', { class: 'numbers' });
    this.buttons = el('div', { class: 'buttons' });
    this.tokens = null;
    this.showTokens = true;
    this.element = el('article', { class: `turn ${turn.role}`, 'aria-label': kRoles[turn.role] },
      el('h2', {}, kRoles[turn.role]), this.reasoning, this.body, this.calls, this.error,
      el('footer', {}, this.numbers, this.buttons));
    this.update();
  }

  update() {
    const { turn } = this;
    if (turn.role === 'assistant') this.#updateAnswer();
    else this.body.textContent = turn.content;
    if (turn.state !== 'running') this.#showButtons();
  }

  #updateAnswer() {
    const { turn } = this;
    const running = turn.state === 'running';
    this.element.classList.toggle('running', running);
    this.element.setAttribute('aria-busy', running);
    this.reasoning.hidden = turn.reasoning === '';
    this.reasoningTitle.textContent = running && turn.content === '' ? 'Thinking …' : 'Reasoning';
    if (this.reasoningText.textContent !== turn.reasoning) this.reasoningText.textContent = turn.reasoning;
    if (turn.tokens.length > 0 && this.showTokens) this.#updateTokens();
    else this.body.replaceChildren(...markdown(turn.content));
    this.#updateCalls(running);
    this.error.hidden = turn.error === '';
    this.error.textContent = turn.error;
    this.numbers.replaceChildren(...statistics(turn).map(({ text, title }) => el('span', { title }, text)));
    if (running) this.buttons.replaceChildren();
  }

  #updateTokens() {
    this.tokens ??= new TokenView();
    this.tokens.update(this.turn.tokens);
    if (this.body.firstChild !== this.tokens.element) this.body.replaceChildren(this.tokens.element);
  }

  #updateCalls(running) {
    const { turn } = this;
    const waits = !running && this.actions.waits(turn);
    const shown = JSON.stringify([turn.calls.map(({ id, name, text }) => [id, name, text]), waits]);
    if (shown === this.shownCalls) return;  // what is being typed there stays
    this.shownCalls = shown;
    this.calls.replaceChildren(...turn.calls.map((call) => callCard(call, waits)));
    if (waits) this.calls.append(el('div', {}, el('button', { type: 'button', class: 'primary', onclick: () => this.actions.sendResults(turn) }, turn.calls.length > 1 ? 'Send the results' : 'Send the result')));
  }

  #showButtons() {
    const { turn } = this;
    const buttons = [];
    if (turn.tokens?.length > 0) {
      buttons.push(button('Tokens', () => { this.showTokens = !this.showTokens; this.update(); }, { 'aria-pressed': this.showTokens }));
    }
    if (turn.content !== '') buttons.push(copyButton('Copy', () => turn.content));
    if (turn.role !== 'assistant' || turn.content !== '') buttons.push(button('Edit', () => this.#edit()));
    if (turn.role === 'assistant') buttons.push(button(turn.error ? 'Try again' : 'Regenerate', () => this.actions.regenerate(turn)));
    this.buttons.replaceChildren(...buttons);
  }

  // Takes the turn's place until it is saved or given up.
  #edit() {
    const { turn } = this;
    const asks = turn.role !== 'assistant';
    const area = el('textarea', { rows: Math.min(12, turn.content.split('\n').length + 1), 'aria-label': `Edit: ${kRoles[turn.role]}` });
    area.value = turn.content;
    const form = el('form', { class: 'edit' }, area, el('div', { class: 'actions' },
      button('Cancel', () => close()), el('button', { type: 'submit', class: 'primary' }, asks ? 'Save and ask again' : 'Save')));
    const close = () => {
      form.replaceWith(this.body);
      this.buttons.hidden = false;
      this.update();
      [...this.buttons.children].find((one) => one.textContent === 'Edit')?.focus();
    };
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      const text = area.value;
      close();
      this.actions.edit(turn, text);
    });
    area.addEventListener('keydown', (event) => {
      if (event.key === 'Escape') close();
      if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) form.requestSubmit();
    });
    this.body.replaceWith(form);
    this.buttons.hidden = true;
    area.focus();
  }
}
