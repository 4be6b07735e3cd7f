// A bundle's model in an ONNX Runtime of JavaScript (onnxruntime-node or onnxruntime-web, given as `ort`).
import { compare, worst } from './compare.mjs';
import { readVectors } from './bundle.mjs';
import { elements, toDoubles } from './npy.mjs';

// ONNX Runtime's fused kernel is about ten times slower than LayerNormalization followed by Add.
const CONFIG = { optimization: { disable_specified_optimizers: 'SkipLayerNormFusion' } };

/** Loads the model; the graph's names must be those of the signature. */
export async function createSession(ort, bundle, provider, threads = 1) {
  const session = await ort.InferenceSession.create(bundle.model, {
    executionProviders: [provider],
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    logSeverityLevel: 3,
    extra: CONFIG,
  });
  const names = (specs) => specs.map(({ name }) => name).join(', ');
  if (session.inputNames.join(', ') !== names(bundle.signature.inputs) ||
      session.outputNames.join(', ') !== names(bundle.signature.outputs))
    throw new Error('model.onnx is refused: its graph has other inputs or outputs than its signature');
  return session;
}

/** `array` ({dtype, shape, bytes}) as a tensor for the input `spec`; sizes must lie in the signature's ranges. */
export function toTensor(ort, spec, array) {
  if (array.dtype !== spec.dtype || array.shape.length !== spec.shape.length)
    throw new Error(`${spec.name} is ${spec.dtype} of rank ${spec.shape.length}, not ${array.dtype} [${array.shape}]`);
  array.shape.forEach((size, d) => {
    const axis = spec.shape[d];
    const { name, min, max } = typeof axis === 'number' ? { name: `${d} of ${spec.name}`, min: axis, max: axis } : axis;
    if (size < min || size > max)
      throw new Error(`axis ${name} is ${size}; the model takes ${min === max ? min : `${min} to ${max}`}`);
  });
  return new ort.Tensor(spec.dtype, elements(array), array.shape);
}

export async function run(ort, session, bundle, inputs) {
  const feeds = {};
  for (const spec of bundle.signature.inputs) {
    const array = inputs.get(spec.name);
    if (!array) throw new Error(`no array is given for the input ${spec.name}`);
    feeds[spec.name] = toTensor(ort, spec, array);
  }
  return session.run(feeds);
}

/** Runs every recorded case; a row of the parity report. */
export async function replay(ort, session, bundle, identity) {
  const results = [];
  for (const one of await readVectors(bundle)) {
    const produced = await run(ort, session, bundle, one.input);
    const outputs = {};
    for (const { name, dtype } of bundle.signature.outputs) {
      const oracle = one.output.get(name);
      const [allowed] = elements(one.bound.get(name));
      const values = toDoubles(dtype, produced[name].data);
      outputs[name] = compare(values, elements(oracle), allowed, dtype);
      if (`${produced[name].dims}` !== `${oracle.shape}`)
        outputs[name] = { ...outputs[name], verdict: 'fail', reason: `shape [${produced[name].dims}]` };
    }
    results.push({ case: one.name, verdict: worst(Object.values(outputs).map((row) => row.verdict)), outputs });
  }
  const verdict = worst(results.map((result) => result.verdict));
  return { ...identity, verdict, reason: '', results, divergence: null };
}

/** Latency of one inference in microseconds on the first recorded case. */
export async function bench(ort, session, bundle, { seconds = 1, warmUp = 20, least = 50 } = {}) {
  const [first] = await readVectors(bundle);
  const feeds = {};
  for (const spec of bundle.signature.inputs) feeds[spec.name] = toTensor(ort, spec, first.input.get(spec.name));
  for (let i = 0; i < warmUp; ++i) await session.run(feeds);
  const samples = [];
  const start = performance.now();
  while (samples.length < least || performance.now() - start < 1000 * seconds) {
    const before = performance.now();
    await session.run(feeds);
    samples.push(1000 * (performance.now() - before));
  }
  const sorted = Float64Array.from(samples).sort();
  const quantile = (q) => sorted[Math.floor(q * (sorted.length - 1))];
  const latency = { unit: 'us', runs: samples.length, min: sorted[0], p50: quantile(0.5), p90: quantile(0.9), p99: quantile(0.99) };
  return { latency, samples };
}

/** What a runner prints besides its rows. */
export function describe(bundle, { runner, runtime, version, machine, threads }) {
  const path = bundle.manifest.declaration.ops === 'custom' ? 'function body' : 'standard operators';
  return { format: 1, architecture: bundle.manifest.declaration.arch, runtime, version, path, runner, machine, threads };
}
