// What a bundle computes on given arrays: one inference, or for a step model the frames of a stream.
import { elements } from './npy.mjs';
import { toFeeds } from './session.mjs';
import { isStep } from './signature.mjs';
import { Stream } from './stream.mjs';

/** The inputs and outputs that callers give and get: the state of a step model is not among them. */
export function dataSpecs({ inputs, outputs, ...rest }) {
  return isStep(rest) ? { inputs: inputs.slice(0, 1), outputs: outputs.slice(0, 1) } : { inputs, outputs };
}

/**
 * Outputs [{name, dtype, shape, data}] for `inputs`, a Map from name to array. A step model takes frames
 * [batch, frames, features] and gives outputs [batch, frames, ...], its state zero before the first.
 * @param {() => Promise<void>} tell awaited between frames
 * @param {{restore?: Uint8Array, save?: (state: Uint8Array) => Promise<unknown>}} state of a single stream: what it goes
 *   on from, and who gets what it left
 */
export async function infer(ort, session, bundle, inputs, tell, state = {}) {
  if (isStep(bundle.signature)) return stream(ort, session, bundle, inputs, tell, state);
  if (state.restore || state.save) throw new Error('--restore and --save need a step model (temport export --streaming)');
  return once(ort, session, bundle, inputs, tell);
}

async function once(ort, session, bundle, inputs, tell) {
  const produced = await session.run(toFeeds(ort, bundle, inputs));
  await tell();
  return bundle.signature.outputs.map(({ name, dtype }) => ({ name, dtype, shape: produced[name].dims, data: produced[name].data }));
}

async function stream(ort, session, bundle, inputs, tell, state) {
  const { inputs: [spec], outputs: [{ name, dtype }] } = dataSpecs(bundle.signature);
  const array = inputs.get(spec.name), { shape: [batch, length, features] } = array;
  if (array.dtype !== spec.dtype || array.shape.length !== 3 || !length || features !== spec.shape[2])
    throw new Error(`a stream of this model is ${spec.dtype} [batch, frames, ${spec.shape[2]}], not ${array.dtype} [${array.shape}]`);
  const running = new Stream(ort, session, bundle, batch);
  if ((state.restore || state.save) && batch !== 1)
    throw new Error(`a saved state is that of one stream; the input holds ${batch}`);
  if (state.restore) await running.restore(state.restore);
  const frames = elements(array);
  let data, rest;
  for (let t = 0; t < length; ++t) {
    const output = await running.push(rows(frames, batch, length, t));
    const width = output.data.length / batch;
    rest ??= output.dims.slice(1);
    data ??= new output.data.constructor(length * output.data.length);
    for (let b = 0; b < batch; ++b) data.set(output.data.subarray(b * width, (b + 1) * width), (b * length + t) * width);
    await tell();
  }
  await state.save?.(await running.save());
  return [{ name, dtype, shape: [batch, length, ...rest], data }];
}

// Row t of each of `batch` sequences.
function rows(values, batch, length, t) {
  const width = values.length / (batch * length);
  const frame = new values.constructor(batch * width);
  for (let b = 0; b < batch; ++b) frame.set(values.subarray((b * length + t) * width, (b * length + t + 1) * width), b * width);
  return frame;
}
