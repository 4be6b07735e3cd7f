// A local file server for the page: `node web/serve.mjs [BUNDLE]`, on 127.0.0.1 only.
import { readFile, realpath } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join, normalize, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { readBundleFile } from '../node/files.mjs';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const BUNDLE = '/bundle/';
const TYPES = { html: 'text/html', css: 'text/css', mjs: 'text/javascript', js: 'text/javascript', wasm: 'application/wasm' };

/**
 * Serves this package, the bundle's files below /bundle, and whatever `routes` answers first.
 * @param {{port?: number, token?: string,
 *   routes?: (path: string, request: import('http').IncomingMessage) => Promise<Uint8Array | string | undefined>}} options
 *   with a token, every path begins with it, and nothing else is answered
 */
export async function serve(bundle, { port = 0, token = '', routes = async () => undefined } = {}) {
  const base = token && `/${token}`;
  const server = createServer(async (request, response) => {
    if (isForeign(request)) return response.writeHead(403).end();
    try {
      const asked = normalize(decodeURIComponent(new URL(request.url, 'http://localhost').pathname));
      if (!asked.startsWith(`${base}/`)) return response.writeHead(404).end();
      const path = asked.slice(base.length);
      const answer = (await routes(path, request)) ?? (await read(path, bundle));
      if (answer === null) return response.writeHead(404).end();
      response.setHeader('Content-Type', TYPES[path.split('.').at(-1)] ?? 'application/octet-stream');
      // Cross-origin isolation: a fine clock, and threads where they are asked for.
      response.setHeader('Cross-Origin-Opener-Policy', 'same-origin');
      response.setHeader('Cross-Origin-Embedder-Policy', 'require-corp');
      response.end(answer);
    } catch ({ code }) {
      response.writeHead(code === 'ENOENT' ? 404 : 403).end(); // a link is not the same as no file
    }
  });
  await new Promise((resolve, reject) => {
    server.on('error', ({ code }) => reject(new Error(`port ${port} cannot be used (${code}); set $PORT to another`)));
    server.listen(port, '127.0.0.1', resolve);
  });
  return { url: `http://127.0.0.1:${server.address().port}${base}`, close: () => server.close(() => {}) || server.closeAllConnections() };
}

// Another site's page can send requests here, under a name of its own that leads to 127.0.0.1 or across origins.
function isForeign({ headers: { host = '', origin } }) {
  return !/^(127\.0\.0\.1|localhost)(:\d+)?$/.test(host) || (origin !== undefined && origin !== `http://${host}`);
}

// `normalize` has removed every "..", so a path stays below its root; a link must not lead out of it either.
async function read(path, bundle) {
  if (bundle && path.startsWith(BUNDLE)) return readBundleFile(bundle, path.slice(BUNDLE.length));
  const file = await realpath(join(ROOT, path));
  return file.startsWith((await realpath(ROOT)) + sep) ? readFile(file) : null;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [, , bundle] = process.argv;
  try {
    const { url } = await serve(bundle, { port: Number(process.env.PORT ?? 8000) });
    console.log(`${url}/web/index.html${bundle ? '?bundle=/bundle' : ''}`);
  } catch (error) {
    console.error(`error: ${error.message}`);
    process.exitCode = 2;
  }
}
