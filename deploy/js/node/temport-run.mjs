#!/usr/bin/env node
// temport-run in node: onnxruntime-node on the bundle's function bodies, or the bundle's native engine.
import { readFile } from 'node:fs/promises';
import { arch, version } from 'node:process';
import { fileURLToPath } from 'node:url';
import { USAGE, parseArguments } from '../lib/arguments.mjs';
import { openBundle } from '../lib/bundle.mjs';
import { exitCode, perform } from '../lib/perform.mjs';
import { underDeadline } from './deadline.mjs';
import { endWith, print } from './endings.mjs';
import { expectedOf, readBundleFile } from './files.mjs';
import { loadNative } from './native.mjs';
import { writeOutput } from './output.mjs';

async function loadOnnxRuntime() {
  try {
    const ort = (await import('onnxruntime-node')).default;
    return { ort, runtime: 'onnxruntime-node', version: ort.env.versions.node };
  } catch (error) {
    throw new Error(`onnxruntime-node is not here (${error.code ?? error.message}); run npm install in deploy/js`);
  }
}

async function main(words) {
  const options = parseArguments(words);
  if (options.help) return (await print(USAGE)) ?? 0;
  if (options.timeout) return underDeadline(options.timeout, fileURLToPath(import.meta.url), words);
  const onnxruntime = options.runtime === 'native' ? null : await loadOnnxRuntime();
  const bundle = await openBundle((name) => readBundleFile(options.bundle, name), await expectedOf(options));
  const { ort, ...runtime } = onnxruntime ?? (await loadNative(bundle));
  const place = { name: 'node', provider: 'cpu', halfFloats: true, runner: `node ${version}`, machine: arch, ...runtime };
  const files = { read: async (file) => new Uint8Array(await readFile(file)), write: writeOutput };
  const report = await perform(ort, bundle, place, options, files);
  await print(JSON.stringify(report, null, 1));
  return exitCode(report);
}

await endWith(() => main(process.argv.slice(2)));
