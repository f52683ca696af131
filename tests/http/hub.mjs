// A small hub that speaks as Hugging Face's does: repositories, commits, links to where the bytes lie. The bytes lie at another
// address, as there, and can break off.
import { createHash } from 'node:crypto';
import http from 'node:http';
import https from 'node:https';

const sha256 = (data) => createHash('sha256').update(data).digest('hex');
const gitSha1 = (data) => createHash('sha1').update(`blob ${data.length}\0`).update(data).digest('hex');

export class Hub {
  // `repositories`: {"org/name": {file: Buffer}}. Files of over 64 KB lie elsewhere, with SHA-256.
  static async start(repositories, { tls, token } = {}) {
    const hub = new Hub();
    Object.assign(hub, { repositories, token, requests: [], bytes: 0, breaks: [], lies: false });
    const make = (answer) => tls ? https.createServer(tls, answer) : http.createServer(answer);
    hub.front = make((request, response) => hub.answer(request, response));
    hub.store = make((request, response) => hub.give(request, response));
    await hub.listen();
    hub.url = `${tls ? 'https' : 'http'}://127.0.0.1:${hub.ports[0]}`;
    return hub;
  }

  async listen() {
    this.ports ??= [0, 0];
    for (const [i, server] of [this.front, this.store].entries()) {
      await new Promise((resolve) => server.listen(this.ports[i], '127.0.0.1', resolve));
      this.ports[i] = server.address().port;
    }
  }

  // Ends it as a crash would: open connections break.
  async stop() {
    for (const server of [this.front, this.store]) {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    }
  }

  commit(name) { return createHash('sha1').update(name).digest('hex'); }

  note(request, at) {
    this.requests.push({ at, method: request.method, url: request.url, range: request.headers.range, token: request.headers.authorization });
  }

  answer(request, response) {
    this.note(request, 'hub');
    const end = (status, headers = {}, body = '') => { response.writeHead(status, headers); response.end(request.method === 'HEAD' ? undefined : body); };
    if (this.token && request.headers.authorization !== `Bearer ${this.token}`) return end(401);
    const listing = request.url.match(/^\/api\/models\/([^/]+\/[^/]+)\/revision\/(.+)$/);
    // Small files may be sent on, within the hub.
    if (!request.url.startsWith('/api/') && request.url.endsWith('/tokenizer.json')) return end(307, { Location: `/api/resolve-cache/models${request.url}` });
    const file = request.url.replace('/api/resolve-cache/models', '').match(/^\/([^/]+\/[^/]+)\/resolve\/([0-9a-f]{40})\/(.+)$/);
    const name = (listing ?? file)?.[1];
    const files = this.repositories[name];
    if (!files) return end(404);
    if (listing) {
      if (!['main', this.commit(name)].includes(listing[2])) return end(404);
      return end(200, { 'Content-Type': 'application/json' }, JSON.stringify({
        id: name, sha: this.commit(name), siblings: Object.keys(files).map((rfilename) => ({ rfilename })) }));
    }
    const data = files[decodeURIComponent(file[3])];
    if (!data || file[2] !== this.commit(name)) return end(404);
    if (data.length <= 65536) return end(200, { ETag: `"${gitSha1(data)}"`, 'Content-Length': data.length }, data);
    const location = `${this.url.replace(/\d+$/, this.ports[1])}/${name}/${file[3]}?signature=x`;
    return end(302, { Location: location, ETag: '"of-the-link"', 'X-Linked-ETag': `"${sha256(data)}"`, 'X-Linked-Size': data.length,
                      'X-Repo-Commit': file[2], 'Content-Length': 0 });
  }

  // `breaks`: after how many bytes the next answers end, one a number.
  give(request, response) {
    this.note(request, 'store');
    const [, org, repository, ...rest] = new URL(request.url, 'http://x').pathname.split('/');
    let data = this.repositories[`${org}/${repository}`][decodeURIComponent(rest.join('/'))];
    if (this.lies) data = Buffer.concat([data.subarray(0, -1), Buffer.from([data.at(-1) ^ 1])]);
    const start = Number(request.headers.range?.match(/^bytes=(\d+)-$/)?.[1] ?? 0);
    const part = data.subarray(start);
    response.writeHead(start ? 206 : 200, { 'Content-Length': part.length, ...start && { 'Content-Range': `bytes ${start}-${data.length - 1}/${data.length}` } });
    const limit = this.breaks.shift();
    const sent = limit === undefined ? part : part.subarray(0, limit);
    this.bytes += sent.length;
    if (limit === undefined) return response.end(part);
    response.write(sent, () => this.onBreak ? this.onBreak(response) : response.destroy());
  }
}
