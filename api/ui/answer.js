// One answer: the request it takes, and how the stream's pieces add up to it.
import { short } from './dom.js';
import { call, events } from './server.js';

// A turn is { role, content } and, of an assistant's, what `newAnswer` has; of a tool's result `tool_call_id` too.
export const newAnswer = () => ({
  role: 'assistant', content: '', reasoning: '', calls: [], tokens: [], state: 'running', error: '', finish: null,
  started: 0, first: 0, last: 0, pieces: 0, usage: null,
});

function message(turn) {
  if (turn.role !== 'assistant') {
    const { role, content, tool_call_id } = turn;
    return tool_call_id ? { role, content, tool_call_id } : { role, content };
  }
  const result = { role: 'assistant', content: turn.content };
  if (turn.calls.length > 0) {
    result.tool_calls = turn.calls.map(({ id, name, text }) => ({ id, type: 'function', function: { name, arguments: text } }));
  }
  return result;
}

// `turns` end before the answer that is asked for. An answer that came to nothing is not sent back.
export function requestBody(model, system, turns, fields) {
  const said = turns.filter((turn) => turn.role !== 'assistant' || turn.content !== '' || turn.calls.length > 0);
  const messages = said.map(message);
  if (system.trim() !== '') messages.unshift({ role: 'system', content: system });
  return { model, messages, ...fields, stream: true, stream_options: { include_usage: true } };
}

function addCalls(turn, pieces) {
  for (const { index, id, function: part } of pieces) {
    const call = (turn.calls[index] ??= { id: '', name: '', text: '' });
    call.id = id ?? call.id;
    call.name += part?.name ?? '';
    call.text += part?.arguments ?? '';
  }
}

function add(turn, event, now) {
  turn.usage = event.usage ?? turn.usage;
  const [choice] = event.choices;
  if (!choice) return;
  const { delta, logprobs, finish_reason: finish } = choice;
  const tokens = logprobs?.content ?? [];
  turn.content += delta.content ?? '';
  turn.reasoning += delta.reasoning_content ?? '';
  addCalls(turn, delta.tool_calls ?? []);
  turn.tokens.push(...tokens);
  turn.finish = finish ?? turn.finish;
  if (!delta.content && !delta.reasoning_content && !delta.tool_calls && tokens.length === 0) return;
  turn.first ||= now;
  turn.last = now;
  turn.pieces += tokens.length || 1;
}

// Asks, and adds to `turn` as the answer comes; `changed` is called after each piece. Never throws: what went wrong is
// turn.error. `signal` stops it, and the server notices.
export async function runAnswer(turn, body, signal, changed) {
  turn.started = performance.now();
  try {
    for await (const event of events(await call('v1/chat/completions', { body, signal, begun: true }))) {
      add(turn, event, performance.now());
      changed();
    }
    turn.state = 'done';
  } catch (error) {
    turn.state = error.name === 'AbortError' ? 'stopped' : 'failed';
    const named = error.param && !error.message.includes(error.param) ? `${error.param}: ` : '';
    turn.error = error.name === 'AbortError' ? '' : named + error.message;
  }
  changed();
}

// Tokens a second after the first; of an answer that came nearly at once, over the whole of its time.
function pace(turn, count) {
  const kShortest = 20;  // milliseconds: below, chance decides which pieces the browser reads together
  const after = turn.last - turn.first;
  const whole = turn.last - turn.started;
  if (count < 2) return null;
  const [rate, title] = after >= kShortest ? [(count - 1) / after, 'After the first token, as this page saw it'] : [count / whole, 'From the request on, as this page saw it: it was too short to tell more'];
  return { text: `${short(rate * 1000)} tokens/s`, title };
}

// Numbers of an answer: each is { text, title }.
export function statistics(turn) {
  const list = [];
  const count = turn.usage?.completion_tokens ?? turn.pieces;
  const answer = `${count} answer token${count === 1 ? '' : 's'}`;
  if (turn.first) list.push({ text: `first token ${Math.round(turn.first - turn.started)} ms`, title: 'From the request to its first token, as this page saw it' });
  const rate = pace(turn, count);
  if (rate) list.push(rate);
  if (turn.usage) {
    const cached = turn.usage.prompt_tokens_details?.cached_tokens ?? 0;
    list.push({ text: `${turn.usage.prompt_tokens} prompt${cached ? ` (${cached} cached)` : ''} + ${answer}`, title: 'As the server counted them' });
  } else if (count > 0 && turn.state !== 'running') {
    list.push({ text: answer, title: 'As this page counted them' });
  }
  if (turn.state === 'stopped') list.push({ text: 'stopped', title: 'You stopped this answer' });
  if (turn.finish === 'length') list.push({ text: 'cut at the limit of tokens', title: 'max_tokens or the context was reached' });
  return list;
}
