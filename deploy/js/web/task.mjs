// What temport-run has a browser do: fetch the task, do it, post the report.
import { openBundle } from '../lib/bundle.mjs';
import { bench, createSession, describe, replay, run } from '../lib/model.mjs';
import { readNpy, writeNpy } from '../lib/npy.mjs';
import { fromUrl, identity, loadRuntime } from './runtime.mjs';

const post = (path, body) => fetch(path, { method: 'POST', body });

async function perform(task) {
  const bundle = await openBundle(fromUrl('/bundle'));
  const ort = await loadRuntime(task.provider, task.threads);
  const session = await createSession(ort, bundle, task.provider, task.threads);
  const about = describe(bundle, identity(ort, task.provider, task.threads));
  if (task.replay) {
    const version = `${about.runner}, ${about.runtime} ${about.version}`;
    about.runtimes = [await replay(ort, session, bundle, { name: `browser-${task.provider}`, version, path: about.path })];
  }
  if (task.inputs) await runOnce(ort, session, bundle);
  if (task.bench) about.latency = (await bench(ort, session, bundle)).latency;
  return about;
}

async function runOnce(ort, session, bundle) {
  const read = fromUrl('/input');
  const inputs = new Map();
  for (const { name } of bundle.signature.inputs) inputs.set(name, readNpy(await read(name)));
  const produced = await run(ort, session, bundle, inputs);
  for (const { name, dtype } of bundle.signature.outputs) {
    const { buffer, byteOffset, byteLength } = produced[name].data;
    const bytes = new Uint8Array(buffer, byteOffset, byteLength);
    await post(`/output/${name}`, writeNpy({ dtype, shape: produced[name].dims, bytes }));
  }
}

try {
  const task = await (await fetch('/task')).json();
  await post('/report', JSON.stringify(await perform(task)));
} catch (error) {
  await post('/report', JSON.stringify({ error: error.message.split('\n')[0] }));
}
