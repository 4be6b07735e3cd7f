// The recorded cases of a bundle run again: a row of the parity report.
import { compare, worst } from './compare.mjs';
import { infer } from './inference.mjs';
import { elements, toDoubles } from './npy.mjs';
import { paced } from './pace.mjs';
import { isStep } from './signature.mjs';
import { readVectors } from './vectors.mjs';

/**
 * Runs every recorded case, a step model's as a stream from zero state; `identity` is {name, version, path}. `streams` of
 * the answer says what became of the frames of each, by case.
 */
export async function replay(ort, session, bundle, identity, { onNonfinite, progress } = {}) {
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
    results.push({ case: one.name, verdict: worst(Object.values(outputs).map((row) => row.verdict)), outputs });
  }
  const row = { ...identity, verdict: worst(results.map((result) => result.verdict)), reason: '', results, divergence };
  return { row, streams };
}

/** The row of a model that cannot run here. */
export function notRun(identity, reason) {
  return { ...identity, verdict: 'not run', reason, results: [], divergence: null };
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
