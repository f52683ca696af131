// Starts servers and talks to them: for the tests that are Node programs.
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import net from 'node:net';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
export const require = createRequire(path.join(process.env.NACELLE_NPM ?? root, 'package.json'));
export const shared = process.env.NACELLE_SHARED ?? path.join(root, '../shared');

// Data beside the checkout: absent, a test is skipped with a line that says so; in CI it fails instead.
export function missing(relative) {
  if (existsSync(path.join(shared, relative)) || process.env.CI === 'true') return false;
  return `needs ${path.join(shared, relative)}, which is absent`;
}

export const goldens = JSON.parse(readFileSync(path.join(root, 'models/demo/golden.json')));
export const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

// A port that was free a moment ago, below those that Linux gives to connections and to listeners of port 0 (from 32768
// on): of these another test may get the same one before it is used.
export async function freePort() {
  for (;;) {
    const port = 10_000 + Math.floor(Math.random() * 22_000);
    const free = await new Promise((resolve) => {
      const listener = net.createServer().on('error', () => resolve(false));
      listener.listen(port, '127.0.0.1', () => listener.close(() => resolve(true)));
    });
    if (free) return port;
  }
}

// Waits for `check` to give something, however slow the machine is; the test's own time limit ends it.
export async function eventually(check) {
  for (;;) {
    const result = await check();
    if (result) return result;
    await sleep(20);
  }
}

export class Server {
  static async start(...flags) {
    const server = new Server();
    const manage = flags.includes('--manage-port') ? [] : ['--manage-port', 'off'];
    server.process = spawn(process.env.NACELLE, ['serve', '--port', '0', ...manage, ...flags],
                           { stdio: ['ignore', 'pipe', 'pipe'] });
    server.exited = new Promise((resolve) => server.process.on('exit', (code, signal) => resolve({ code, signal })));
    server.log = '';
    server.process.stderr.on('data', (data) => { server.log += data; });
    server.url = await new Promise((resolve, reject) => {
      let text = '';
      server.process.stdout.on('data', (data) => {
        text += data;
        const ready = text.match(/ready on (\S+)\n/);
        if (ready) resolve(ready[1]);
      });
      // Not at its exit: what it wrote last may still be in the pipe then.
      server.process.on('close', (code) => reject(new Error(`the server ended with ${code}: ${server.log}`)));
    });
    server.port = Number(new URL(server.url).port);
    return server;
  }

  // The openai client, where the tests have it.
  get client() {
    const { OpenAI } = require('openai');
    return (this.openai ??= new OpenAI({ baseURL: `${this.url}/v1`, apiKey: 'none', maxRetries: 0 }));
  }

  get(target, headers = {}) { return fetch(this.url + target, { headers }); }

  // `url`: of another listener of the same server.
  async post(target, body, { url = this.url, headers = {} } = {}) {
    const response = await fetch(url + target, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', ...headers },
      body: typeof body === 'string' || body instanceof Uint8Array ? body : JSON.stringify(body),
    });
    return { status: response.status, body: await response.json() };
  }

  // Sends bytes as they are; what comes back until the server closes or `milliseconds` pass.
  raw(bytes, milliseconds = 5000) {
    return new Promise((resolve) => {
      let text = '';
      const socket = net.connect(this.port, '127.0.0.1', () => socket.write(bytes));
      const timer = setTimeout(() => socket.destroy(), milliseconds);
      socket.on('data', (data) => { text += data; });
      socket.on('error', () => {});
      socket.on('close', () => { clearTimeout(timer); resolve(text); });
    });
  }

  async stop() {
    this.process.kill('SIGTERM');
    return this.exited;
  }
}

export const model = 'nacelle-demo';
export const paris = [{ role: 'user', content: 'What is the capital of France?' }];
