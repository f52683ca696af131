// Elements and texts. Everything is made by createElement and textContent: no text ever becomes markup.

// el('button', { class: 'quiet', onclick: f, 'aria-pressed': true }, 'Copy', otherElement). A property that is null,
// undefined or false is left out; `on...` is a listener.
export function el(tag, properties = {}, ...children) {
  return fill(document.createElement(tag), properties, children);
}

export function svg(tag, properties = {}, ...children) {
  return fill(document.createElementNS('http://www.w3.org/2000/svg', tag), properties, children);
}

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true && !name.startsWith('aria-') ? '' : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const byId = (id) => document.getElementById(id);

// A label with the field it names; `note` stands below and is read with the field.
let labelled = 0;
export function field(label, control, note) {
  control.id ||= `field-${++labelled}`;
  const hint = note ? el('p', { class: 'note', id: `${control.id}-note` }, note) : null;
  if (hint) control.setAttribute('aria-describedby', hint.id);
  return el('div', { class: 'field' }, el('label', { for: control.id }, label), control, hint);
}

export function option(value, text = value) {
  return el('option', { value }, text);
}

// Puts `values` into a select and keeps the choice where it still exists.
export function setOptions(select, values) {
  const key = JSON.stringify(values);
  if (select.dataset.values === key) return;  // it may be open
  select.dataset.values = key;
  const before = select.value;
  select.replaceChildren(...values.map((value) => (Array.isArray(value) ? option(...value) : option(value))));
  if ([...select.options].some((one) => one.value === before)) select.value = before;
}

// Says a text to screen readers. Polite: after what they are reading.
export function announce(text) {
  const status = byId('status');
  status.textContent = '';
  requestAnimationFrame(() => { status.textContent = text; });
}

// A button that copies, and says so on itself for a moment.
export function copyButton(label, text) {
  const button = el('button', { type: 'button', class: 'quiet' }, label);
  button.addEventListener('click', async () => {
    try {
      await navigator.clipboard.writeText(text());
      button.textContent = 'Copied';
      announce('Copied');
    } catch {
      button.textContent = 'Cannot be copied';  // clipboards are for https and localhost
    }
    setTimeout(() => { button.textContent = label; }, 1500);
  });
  return button;
}

// A table that turns into cards where it is narrow: `columns` are { title, cell(row), align, class }. The roles are said
// again, because a table laid out as blocks loses its own.
export function table(caption, columns, rows, empty) {
  const head = el('tr', { role: 'row' }, columns.map((column) => el('th', { role: 'columnheader', scope: 'col', class: column.align }, column.title)));
  const body = rows.map((row) => el('tr', { role: 'row' }, columns.map((column, index) => {
    const made = column.cell(row);
    const content = Array.isArray(made) ? el('div', {}, made) : made;
    const header = index === 0;
    return el(header ? 'th' : 'td', {
      role: header ? 'rowheader' : 'cell', scope: header ? 'row' : null, 'data-title': column.title, class: [column.align, column.class].filter(Boolean).join(' ') || null,
    }, content === '' || content === null || content === undefined ? el('span', { class: 'muted' }, '–') : content);
  })));
  if (rows.length === 0) return el('p', { class: 'muted' }, empty);
  return el('table', { role: 'table', class: 'cards' }, el('caption', { class: 'unseen' }, caption),
            el('thead', { role: 'rowgroup' }, head), el('tbody', { role: 'rowgroup' }, body));
}

const kUnits = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
export function bytes(value) {
  let unit = 0;
  for (; value >= 1024 && unit + 1 < kUnits.length; ++unit) value /= 1024;
  return `${unit && value < 10 ? value.toFixed(1) : Math.round(value)} ${kUnits[unit]}`;
}

export function seconds(value) {
  const [factor, unit] = value < 1e-3 ? [1e6, 'µs'] : value < 1 ? [1e3, 'ms'] : [1, 's'];
  return `${Number((value * factor).toPrecision(3))} ${unit}`;
}

export const percent = (share) => (share > 0 && share < 0.0005 ? '< 0.1 %' : `${(share * 100).toFixed(share > 0 && share < 0.0995 ? 1 : 0)} %`);

// 1234.5 -> "1235", 12.34 -> "12.3"
export const short = (value) => (value >= 100 ? Math.round(value).toLocaleString('en') : value >= 10 ? value.toFixed(1) : value.toFixed(value >= 1 || value === 0 ? 1 : 2));
