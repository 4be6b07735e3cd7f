// What temport-run has a browser do: fetch the task, do it, post the report.
import { openBundle } from '../lib/bundle.mjs';
import { perform } from '../lib/perform.mjs';
import { loadRuntime } from './runtime.mjs';
import { fromUrl } from './sources.mjs';

const here = (path) => new URL(path, new URL('..', location)).href; // below the server's token
const post = (path, body) => fetch(here(path), { method: 'POST', body });
const files = {
  read: async (path) => new Uint8Array(await (await fetch(here(path))).arrayBuffer()),
  write: post,
  progress: () => post('progress'),
};

async function work() {
  const { provider, options, expected } = await (await fetch(here('task'))).json();
  const bundle = await openBundle(fromUrl(here('bundle')), expected);
  const { ort, place } = await loadRuntime(provider, bundle, options.threads);
  return perform(ort, bundle, place, options, files);
}

const report = await work().catch((error) => ({ error: error.message.split('\n')[0] }));
await post('report', JSON.stringify(report));
