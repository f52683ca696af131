// The part of Markdown that models write, as elements: headings, lists, quotes, tables, fenced code, emphasis, links.
// What it does not know stays the text it is. Needs no finished text: it is called again as an answer grows.
import { copyButton, el } from './dom.js';

const kInline = /(`+)([^`]|[^`][\s\S]*?[^`])\1(?!`)|\*\*([^\s*](?:[\s\S]*?[^\s])?)\*\*|(?<![\w*])\*([^\s*](?:[^*]*?[^\s*])?)\*(?![\w*])|(?<!\w)_([^\s_](?:[^_]*?[^\s_])?)_(?!\w)|\[([^\]\n]+)\]\((https?:\/\/[^\s)]+)\)/g;

function inline(text) {
  const nodes = [];
  let end = 0;
  for (const match of text.matchAll(kInline)) {
    const [all, , code, strong, starred, lined, label, url] = match;
    nodes.push(text.slice(end, match.index));
    end = match.index + all.length;
    if (code !== undefined) nodes.push(el('code', {}, code));
    else if (strong !== undefined) nodes.push(el('strong', {}, inline(strong)));
    else if (url !== undefined) nodes.push(el('a', { href: url, rel: 'noopener noreferrer', target: '_blank' }, inline(label)));
    else nodes.push(el('em', {}, inline(starred ?? lined)));
  }
  nodes.push(text.slice(end));
  return nodes.filter((node) => node !== '');
}

function codeBlock(language, lines) {
  const text = lines.join('\n');
  return el('figure', { class: 'code' },
            el('figcaption', {}, el('span', {}, language || 'text'), copyButton('Copy', () => text)),
            el('pre', { tabindex: 0 }, el('code', {}, text)));
}

const cells = (line) => line.trim().replace(/^\||\|$/g, '').split('|').map((cell) => cell.trim());

function tableOf(lines) {
  const row = (tag) => (line) => el('tr', {}, cells(line).map((cell) => el(tag, {}, inline(cell))));
  return el('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': 'Table' },
            el('table', {}, el('thead', {}, row('th')(lines[0])), el('tbody', {}, lines.slice(2).map(row('td')))));
}

const kItem = /^(\s*)(?:[-*+]|(\d{1,9})[.)])\s+(.*)$/;

// Items of one depth; deeper ones become a list inside the item before.
function list(lines) {
  const [, indent, number] = lines[0].match(kItem);
  const items = [];
  for (const line of lines) {
    const match = line.match(kItem);
    if (match && match[1].length <= indent.length) items.push([match[3]]);
    else items.at(-1).push(line);
  }
  const content = ([first, ...rest]) => el('li', {}, inline(first), rest.length ? blocks(rest.map((line) => line.replace(/^\s{1,4}/, ''))) : null);
  const start = number && number !== '1' ? number : null;
  return el(number ? 'ol' : 'ul', { start }, items.map(content));
}

// The kinds of block: where one begins, which lines go on with it, what it becomes. The first that fits is taken.
const kBlocks = [
  { begins: (line) => /^#{1,6}\s/.test(line), goesOn: () => false,
    make: ([line]) => el(`h${Math.min(line.indexOf(' ') + 2, 6)}`, {}, inline(line.replace(/^#+\s+/, ''))) },
  { begins: (line) => /^(?:-{3,}|\*{3,}|_{3,})\s*$/.test(line), goesOn: () => false, make: () => el('hr') },
  { begins: (line) => line.startsWith('>'), goesOn: (line) => line.startsWith('>'),
    make: (lines) => el('blockquote', {}, blocks(lines.map((line) => line.replace(/^>\s?/, '')))) },
  { begins: (line, next) => line.includes('|') && /^\s*\|?[\s:|-]*-[\s:|-]*$/.test(next ?? '') && next.includes('|'),
    goesOn: (line) => line.includes('|'), make: tableOf },
  { begins: (line) => kItem.test(line), goesOn: (line) => kItem.test(line) || /^\s+\S/.test(line), make: list },
  { begins: () => true, goesOn: (line, next) => line.trim() !== '' && !kBlocks.slice(0, -1).some((kind) => kind.begins(line, next)),
    make: (lines) => el('p', {}, lines.flatMap((line, index) => (index ? [el('br'), ...inline(line)] : inline(line)))) },
];

function blocks(lines) {
  const nodes = [];
  for (let at = 0; at < lines.length;) {
    const fence = lines[at].match(/^\s*(```+|~~~+)\s*([\w+#.-]*)/);
    if (fence) {
      let end = at + 1;
      while (end < lines.length && !lines[end].trimStart().startsWith(fence[1])) ++end;
      nodes.push(codeBlock(fence[2], lines.slice(at + 1, end)));
      at = end + 1;
      continue;
    }
    if (lines[at].trim() === '') {
      ++at;
      continue;
    }
    const kind = kBlocks.find((one) => one.begins(lines[at], lines[at + 1]));
    let end = at + 1;
    while (end < lines.length && !/^\s*(?:```|~~~)/.test(lines[end]) && kind.goesOn(lines[end], lines[end + 1])) ++end;
    nodes.push(kind.make(lines.slice(at, end)));
    at = end;
  }
  return nodes;
}

export const markdown = (text) => blocks(text.split('\n'));
