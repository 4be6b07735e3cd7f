// What a runner does with a bundle, whatever it runs in: replay, single inferences, latency, one report.
import { fileOf } from './arguments.mjs';
import { bench } from './bench.mjs';
import { dataSpecs, infer } from './inference.mjs';
import { readNpy, writeNpy } from './npy.mjs';
import { paced } from './pace.mjs';
import { notRun, replay } from './replay.mjs';
import { createSession, refusal } from './session.mjs';
import { isStep } from './signature.mjs';

/**
 * The runner's report.
 * @param {object} ort onnxruntime-node or onnxruntime-web
 * @param {{name: string, provider: string, halfFloats: boolean, runner: string, runtime: string, version: string,
 *   machine: string, path?: string, recorded?: Record<string, string>}} place what it runs in
 * @param {object} options as `parseArguments` gives them
 * @param {{read: (file: string) => Promise<Uint8Array>, write: (file: string, bytes: Uint8Array) => Promise<unknown>,
 *   progress?: (done: number) => unknown}} files reads inputs, writes outputs
 */
export async function perform(ort, bundle, place, options, files) {
  const { name, provider, halfFloats, runner, runtime, version, machine } = place;
  const { arch, ops } = bundle.manifest.declaration;
  const path = place.path ?? (ops === 'custom' ? 'function body' : 'standard operators');
  const report = { format: 1, architecture: arch, digest: bundle.digest, runtime, version, path, runner, machine, threads: options.threads };
  const identity = { name, version: `${runner}, ${runtime} ${version}`, path };
  const why = refusal(bundle, provider, halfFloats);
  if (why && options.replay && !options.bench && !options.inputs.length)
    return { ...report, runtimes: [notRun(identity, why)] };
  if (why) throw new Error(why);
  const session = await createSession(ort, bundle, provider, options.threads);
  if (options.replay) {
    const { row, streams } = await replay(ort, session, bundle, identity, { onNonfinite: options.onNonfinite, progress: files.progress, recorded: place.recorded });
    report.runtimes = [row];
    if (isStep(bundle.signature)) report.streams = streams;
  }
  if (options.inputs.length) report.stream = await runFiles(ort, session, bundle, options, files);
  if (options.bench) {
    const limits = { frames: options.frames ?? undefined, onNonfinite: options.onNonfinite, progress: files.progress };
    report.latency = await bench(ort, session, bundle, limits);
  }
  return report;
}

/** 0, or 1 where a case failed or more than half could not be judged. */
export function exitCode({ runtimes: [row] = [] }) {
  if (!row) return 0;
  const judged = row.results.filter((result) => result.verdict !== 'ill-conditioned').length;
  return row.verdict !== 'fail' && judged && 2 * judged >= row.results.length ? 0 : 1;
}

async function runFiles(ort, session, bundle, options, files) {
  const { inputs, outputs } = dataSpecs(bundle.signature);
  checkNames('--input', options.inputs, inputs);
  checkNames('--output', options.outputs, outputs);
  const arrays = new Map();
  for (const { name } of inputs) {
    const file = fileOf(options.inputs, name, inputs.length);
    if (!file) throw new Error(`no file is given for the input ${name}; add --input ${name}=x.npy`);
    const bytes = await files.read(file);
    try {
      arrays.set(name, readNpy(bytes));
    } catch (error) {
      throw new Error(`the file of ${name} is refused: ${error.message}`);
    }
  }
  const state = {
    onNonfinite: options.onNonfinite,
    restore: options.restore ? await files.read(options.restore) : null,
    save: options.save ? (bytes) => files.write(options.save, bytes) : null,
  };
  const { outputs: made, stream } = await infer(ort, session, bundle, arrays, paced(files.progress), state);
  for (const { name, dtype, shape, data } of made) {
    const file = fileOf(options.outputs, name, outputs.length);
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    if (file) await files.write(file, writeNpy({ dtype, shape, bytes }));
  }
  return stream;
}

// Every file belongs to one tensor, and no tensor has two.
function checkNames(option, files, specs) {
  const known = specs.map(({ name }) => name);
  const names = files.map(({ name }) => name || (known.length === 1 ? known[0] : ''));
  const stray = names.findIndex((name) => !known.includes(name));
  if (stray >= 0)
    throw new Error(`${option} ${files[stray].name || files[stray].file} is not one of ${known.join(', ')}; give NAME=file.npy`);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice) throw new Error(`${option} names ${twice} twice`);
}
