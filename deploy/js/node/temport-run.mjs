#!/usr/bin/env node
// temport-run in node: onnxruntime-node on the bundle's function bodies.
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { arch, version } from 'node:process';
import { USAGE, fileOf, parseArguments } from '../lib/arguments.mjs';
import { openBundle } from '../lib/bundle.mjs';
import { bench, createSession, describe, replay, run } from '../lib/model.mjs';
import { readNpy, writeNpy } from '../lib/npy.mjs';

async function loadRuntime() {
  try {
    return (await import('onnxruntime-node')).default;
  } catch (error) {
    throw new Error(`onnxruntime-node is not here (${error.code ?? error.message}); run npm install in deploy/js`);
  }
}

async function readBundleFile(directory, name) {
  try {
    return new Uint8Array(await readFile(join(directory, name)));
  } catch (error) {
    throw new Error(`${join(directory, name)} cannot be read (${error.code})`);
  }
}

async function runOnce(ort, session, bundle, options) {
  const inputs = new Map();
  const { inputs: ins, outputs: outs } = bundle.signature;
  for (const { name } of ins) {
    const file = fileOf(options.inputs, name, ins.length);
    if (!file) throw new Error(`no file is given for the input ${name}; add --input ${name}=x.npy`);
    inputs.set(name, readNpy(new Uint8Array(await readFile(file))));
  }
  const produced = await run(ort, session, bundle, inputs);
  for (const { name, dtype } of outs) {
    const file = fileOf(options.outputs, name, outs.length);
    if (!file) continue;
    const { buffer, byteOffset, byteLength } = produced[name].data;
    await writeFile(file, writeNpy({ dtype, shape: produced[name].dims, bytes: new Uint8Array(buffer, byteOffset, byteLength) }));
  }
}

async function main(words) {
  const options = parseArguments(words);
  if (options.help) return console.log(USAGE);
  const ort = await loadRuntime();
  const bundle = await openBundle((name) => readBundleFile(options.bundle, name));
  const session = await createSession(ort, bundle, 'cpu', options.threads);
  const about = describe(bundle, {
    runner: `node ${version}`,
    runtime: 'onnxruntime-node',
    version: ort.env.versions.node,
    machine: arch,
    threads: options.threads,
  });
  if (options.replay) {
    const identity = { name: 'node', version: `${about.runner}, ${about.runtime} ${about.version}`, path: about.path };
    about.runtimes = [await replay(ort, session, bundle, identity)];
    const judged = about.runtimes[0].results.some((result) => result.verdict !== 'ill-conditioned');
    if (about.runtimes[0].verdict === 'fail' || !judged) process.exitCode = 1;
  }
  if (options.inputs.length) await runOnce(ort, session, bundle, options);
  if (options.bench) about.latency = (await bench(ort, session, bundle)).latency;
  console.log(JSON.stringify(about, null, 1));
}

main(process.argv.slice(2)).catch((error) => {
  console.error(`error: ${error.message.split('\n')[0]}`);
  process.exitCode = 2;
});
