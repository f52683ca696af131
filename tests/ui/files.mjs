// The page's files: what is served where, under which headers. Needs no browser.
import assert from 'node:assert/strict';
import test from 'node:test';
import { Server, freePort } from '../support/server.mjs';

test('files, policy and caching', async () => {
  const port = await freePort();
  const server = await Server.start('--manage-port', String(port));
  const operate = `http://127.0.0.1:${port}`;
  try {
    const seen = new Set();
    for (const [base, page, title] of [[server.url, '/', 'Chat'], [operate, '/', 'Operate']]) {
      const queue = [page];
      for (const target of queue) {
        const response = await fetch(base + target);
        const text = await response.text();
        assert.equal(response.status, 200, target);
        seen.add(target);
        const policy = response.headers.get('content-security-policy');
        assert.match(policy, /^default-src 'none'; script-src 'self'; style-src 'self'/);
        assert.doesNotMatch(policy, /unsafe|http|\*/);
        assert.match(policy, /frame-ancestors 'none'.*require-trusted-types-for 'script'/);
        assert.equal(response.headers.get('x-content-type-options'), 'nosniff');
        assert.equal(response.headers.get('cache-control'), 'no-cache');
        const tag = response.headers.get('etag');
        assert.match(tag, /^"[0-9a-f]{32}"$/);
        const again = await fetch(base + target, { headers: { 'If-None-Match': `"other", ${tag}` } });
        assert.deepEqual([again.status, again.headers.get('etag'), await again.text()], [304, tag, '']);
        assert.equal((await fetch(base + target, { headers: { 'If-None-Match': '"other"' } })).status, 200);
        assert.equal((await fetch(base + target, { method: 'HEAD' })).headers.get('content-length'), String(Buffer.byteLength(text)));
        // Nothing inline, nothing from elsewhere; every file that is named is there.
        if (target === '/') {
          assert.match(text, new RegExp(`<title>${title}`));
          assert.doesNotMatch(text, /<style|style=|\son\w+=|<script(?![^>]*src=)|https?:|\/\//i);
        }
        if (!target.endsWith('.svg')) assert.doesNotMatch(text, /innerHTML|insertAdjacentHTML|document\.write|\beval\b/);
        const names = [...text.matchAll(/(?:src|href)="(ui\/[^"]+)"|from '\.\/([^']+)'/g)].map(([, link, module]) => `/${link ?? `ui/${module}`}`);
        for (const name of names) if (!queue.includes(name)) queue.push(name);
      }
    }
    assert.ok(seen.has('/ui/tokens.js') && seen.has('/ui/chart.js') && seen.has('/ui/icon.svg'));
    assert.equal((await fetch(`${server.url}/ui/none.js`)).status, 404);
    assert.equal((await fetch(`${server.url}/ui/..%2Fchat.html`)).status, 404);

    // The way to the other page, for those who can take it.
    const other = async (base) => (await (await fetch(`${base}/ui/site.json`)).json()).other_port;
    assert.equal(await other(server.url), port);
    assert.equal(await other(operate), server.port);
    assert.match(await server.raw('GET /ui/site.json HTTP/1.1\r\nHost: nacelle.example\r\nConnection: close\r\n\r\n'), /"other_port": null/);
  } finally {
    await server.stop();
  }
});
