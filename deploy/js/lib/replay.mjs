// The recorded cases of a bundle run again: a row of the parity report.
import { sha256 } from './bundle.mjs';
import { compare, worst } from './compare.mjs';
import { infer } from './inference.mjs';
import { elements, toDoubles } from './npy.mjs';
import { paced } from './pace.mjs';
import { isStep } from './signature.mjs';
import { readVectors } from './vectors.mjs';

/**
 * Runs every recorded case, a step model's as a stream from zero state; `identity` is {name, version, path}. `streams` of
 * the answer says what became of the frames of each, by case.
 * @param {{recorded?: Record<string, string>}} options SHA-256 of the outputs that have to come out, by case
 */
export async function replay(ort, session, bundle, identity, { onNonfinite, progress, recorded = {} } = {}) {
  const tell = paced(progress);
  const results = [], streams = {};
  let divergence = null;
  for (const one of await readVectors(bundle)) {
    const outputs = {};
    const inferred = await infer(ort, session, bundle, one.input, tell, { onNonfinite });
    if (inferred.stream) streams[one.name] = inferred.stream;
    for (const { name, dtype, shape, data } of inferred.outputs) {
      const oracle = one.output.get(name), truth = elements(oracle), values = toDoubles(dtype, data);
      const bound = elements(one.bound.get(name));
      outputs[name] = compare(values, truth, bound, bundle.manifest.declaration.precision);
      if (`${shape}` !== `${oracle.shape}`)
        outputs[name] = { ...outputs[name], verdict: 'fail', reason: `shape [${shape}] where [${oracle.shape}] is right` };
      else if (isStep(bundle.signature) && outputs[name].verdict === 'fail')
        divergence ??= { case: one.name, tensor: name, ...firstWrongFrame(shape, values, truth, bound[0]) };
    }
    if (Object.hasOwn(recorded, one.name) && !inferred.stream?.refused && (await outputsSha256(inferred.outputs)) !== recorded[one.name])
      for (const row of Object.values(outputs)) Object.assign(row, { verdict: 'fail', reason: 'its bytes differ from those that engine.json recorded' });
    results.push({ case: one.name, verdict: worst(Object.values(outputs).map((row) => row.verdict)), outputs });
  }
  const row = { ...identity, verdict: worst(results.map((result) => result.verdict)), reason: '', results, divergence };
  return { row, streams };
}

/** The row of a model that cannot run here. */
export function notRun(identity, reason) {
  return { ...identity, verdict: 'not run', reason, results: [], divergence: null };
}

// As exporter/parity/replay.py computes it: of the bytes of all outputs, where every NaN counts as the same one.
function outputsSha256(outputs) {
  const all = outputs.map(({ dtype, data }) => {
    const half = dtype === 'float16' && data instanceof Uint16Array;
    const own = half ? data.map((bits) => ((bits & 0x7fff) > 0x7c00 ? 0x7e00 : bits)) : data.slice();
    if (own instanceof Float32Array) new Uint32Array(own.buffer).forEach((_, i, bits) => Number.isNaN(own[i]) && (bits[i] = 0x7fc00000));
    return new Uint8Array(own.buffer);
  });
  const bytes = new Uint8Array(all.reduce((sum, { length }) => sum + length, 0));
  all.reduce((at, one) => (bytes.set(one, at), at + one.length), 0);
  return sha256(bytes);
}

function firstWrongFrame([batch, length], values, oracle, allowed) {
  const width = values.length / (batch * length);
  const errors = new Float64Array(length);
  values.forEach((value, i) => {
    const t = Math.floor(i / width) % length;
    errors[t] = Math.max(errors[t], Math.abs(value - oracle[i])); // NaN where either is
  });
  const wrong = [...errors.keys()].filter((t) => !(errors[t] <= allowed));
  const error = Number.isFinite(errors[wrong[0]]) ? errors[wrong[0]] : null;
  const explanation = `frame ${wrong[0]} of ${length} is the first that is wrong; ${wrong.length} are`;
  return { where: 'unlocated', op: 'step model', node: '', error, allowed, explanation };
}
