// What temport-run does in node: onnxruntime-node on the bundle's function bodies, or the bundle's native engine.
import { readFile } from 'node:fs/promises';
import { arch, version } from 'node:process';
import { parseArguments } from '../lib/arguments.mjs';
import { openBundle } from '../lib/bundle.mjs';
import { loadNative } from '../lib/native.mjs';
import { exitCode, perform } from '../lib/perform.mjs';
import { endWith, print } from './endings.mjs';
import { loadEngine } from './engine.mjs';
import { expectedOf, readBundleFile } from './files.mjs';
import { writeOutput } from './output.mjs';
import { endWithParent } from './watched.mjs';

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
  const bundle = await openBundle((name) => readBundleFile(options.bundle, name), await expectedOf(options));
  const native = options.runtime === 'native';
  const { ort, ...runtime } = native ? await loadNative(bundle, loadEngine) : await loadOnnxRuntime();
  const place = { name: 'node', provider: 'cpu', halfFloats: true, runner: `node ${version}`, machine: arch, ...runtime };
  const files = { read: async (file) => new Uint8Array(await readFile(file)), write: writeOutput };
  const report = await perform(ort, bundle, place, options, files);
  await print(JSON.stringify(report, null, 1));
  return exitCode(report);
}

const [, , parent, ...words] = process.argv;
endWithParent(Number(parent));
await endWith(() => main(words));
