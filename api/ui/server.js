// Talks to the server the page came from: JSON, server-sent events, the API key, and failures in one line.

const kKey = 'nacelle.key';
// The key lives as long as the tab. Another tab, another listener or a restart of the browser asks again.
export const key = {
  get: () => { try { return sessionStorage.getItem(kKey) ?? ''; } catch { return ''; } },
  set: (text) => { try { sessionStorage.setItem(kKey, text); } catch { /* nothing is kept, then */ } },
  forget: () => { try { sessionStorage.removeItem(kKey); } catch { /* nothing was kept */ } },
};

let askForKey = async () => null;
let declined = false;
// `ask(reason)` gives a key, or null where the user gives none: then only what the user begins asks again.
export function onKeyWanted(ask) { askForKey = ask; }

// What went wrong, in one line that can be shown as it is.
export class Failure extends Error {
  constructor(message, { status = 0, param = null, code = null } = {}) {
    super(message);
    Object.assign(this, { status, param, code });
  }
}

const kNoServer = 'The server cannot be reached: is it running, and is the network up?';

async function failureOf(response) {
  let error = {};
  try { ({ error = {} } = await response.json()); } catch { /* not ours: a proxy's page, say */ }
  const wait = response.headers.get('retry-after');
  const again = wait && (response.status === 429 || response.status === 503) ? ` Try again in ${wait} s.` : '';
  return new Failure(`${error.message ?? `The server answered ${response.status} ${response.statusText}`}${again}`,
                     { status: response.status, param: error.param, code: error.code });
}

async function send(path, options) {
  const headers = { ...options.headers };
  if (key.get()) headers.Authorization = `Bearer ${key.get()}`;
  if (options.body !== undefined) headers['Content-Type'] = 'application/json';
  try {
    return await fetch(path, { ...options, headers, cache: 'no-store', credentials: 'omit' });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Failure(kNoServer);
  }
}

// The response of a request that succeeded. Where the server wants a key, or another one, it is asked for and the request
// sent again. `begun`: by the user, just now.
export async function call(path, { body, signal, begun = false, method = body === undefined ? 'GET' : 'POST' } = {}) {
  const options = { method, signal, body: body === undefined ? undefined : JSON.stringify(body) };
  for (;;) {
    const response = await send(path, options);
    if (response.ok) return response;
    const failure = await failureOf(response);
    const wrongKey = response.status === 401 || failure.code === 'insufficient_permissions';
    if (!wrongKey || (declined && !begun)) throw failure;
    const given = await askForKey(failure);
    declined = !given;
    if (!given) throw failure;
    key.set(given);
  }
}

export const getJson = async (path, options) => (await call(path, options)).json();

// The data of each server-sent event, as JSON, until [DONE]. A failure in the stream is thrown.
export async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  try {
    for (;;) {
      const { value, done } = await reader.read().catch((error) => {
        if (error.name === 'AbortError') throw error;
        throw new Failure('The connection broke before the answer was whole.');
      });
      if (done) throw new Failure('The connection ended before the answer was whole.');
      text += value;
      const blocks = text.split(/\r?\n\r?\n/);
      text = blocks.pop();
      for (const block of blocks) {
        const data = block.split(/\r?\n/).filter((line) => line.startsWith('data:')).map((line) => line.slice(5).trimStart()).join('\n');
        if (data === '[DONE]') return;
        if (!data) continue;
        const json = JSON.parse(data);
        if (json.error) throw new Failure(json.error.message, json.error);
        yield json;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
