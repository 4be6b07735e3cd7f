#!/usr/bin/env node
// temport-run in node: onnxruntime-node on the bundle's function bodies.
import { readFile, writeFile } from 'node:fs/promises';
import { arch, version } from 'node:process';
import { USAGE, parseArguments } from '../lib/arguments.mjs';
import { openBundle } from '../lib/bundle.mjs';
import { exitCode, perform } from '../lib/perform.mjs';
import { expectedOf, readBundleFile } from './files.mjs';

async function loadRuntime() {
  try {
    return (await import('onnxruntime-node')).default;
  } catch (error) {
    throw new Error(`onnxruntime-node is not here (${error.code ?? error.message}); run npm install in deploy/js`);
  }
}

async function main(words) {
  const options = parseArguments(words);
  if (options.help) return console.log(USAGE);
  const ort = await loadRuntime();
  const bundle = await openBundle((name) => readBundleFile(options.bundle, name), await expectedOf(options));
  const place = {
    name: 'node',
    provider: 'cpu',
    halfFloats: true,
    runner: `node ${version}`,
    runtime: 'onnxruntime-node',
    version: ort.env.versions.node,
    machine: arch,
  };
  const files = { read: async (file) => new Uint8Array(await readFile(file)), write: writeFile };
  const report = await perform(ort, bundle, place, options, files);
  process.exitCode = exitCode(report);
  console.log(JSON.stringify(report, null, 1));
}

main(process.argv.slice(2)).catch((error) => {
  console.error(`error: ${error.message.split('\n')[0]}`);
  process.exitCode = 2;
});
