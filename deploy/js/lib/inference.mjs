// What a bundle computes on given arrays: one inference, or for a step model the frames of a stream.
import { elements, zeros } from './npy.mjs';
import { toFeeds } from './session.mjs';
import { isStep, stepInputs, stepOutputs } from './signature.mjs';
import { RefusedFrame, Stream } from './stream.mjs';

const MAX_REFUSED_NAMED = 100;

/** The inputs and outputs that callers give and get: the state of a step model is not among them. */
export function dataSpecs({ inputs, outputs, ...rest }) {
  return isStep(rest) ? { inputs: stepInputs({ inputs, ...rest }), outputs: stepOutputs({ outputs, ...rest }) } : { inputs, outputs };
}

/**
 * {outputs: [{name, dtype, shape, data}]} for `inputs`, a Map from name to array. A step model takes frames
 * [batch, frames, ...] of every input and gives outputs [batch, frames, ...], its state zero before the first; the outputs of a
 * refused frame are NaN, and `stream` says which they are: {frames, refused, refused_frames, poisoned}.
 * @param {() => Promise<void>} tell awaited between frames
 * @param {{onNonfinite?: string, restore?: Uint8Array, save?: (state: Uint8Array) => Promise<unknown>}} state what the
 *   stream does with a frame that is not finite; of a single stream what it goes on from, and who gets what it left
 */
export async function infer(ort, session, bundle, inputs, tell, state = {}) {
  if (isStep(bundle.signature)) return stream(ort, session, bundle, inputs, tell, state);
  if (state.restore || state.save) throw new Error('--restore and --save need a step model (temport export --streaming)');
  return once(ort, session, bundle, inputs, tell);
}

async function once(ort, session, bundle, inputs, tell) {
  const produced = await session.run(toFeeds(ort, bundle, inputs));
  await tell();
  return { outputs: bundle.signature.outputs.map(({ name, dtype }) => ({ name, dtype, shape: produced[name].dims, data: produced[name].data })) };
}

async function stream(ort, session, bundle, inputs, tell, state) {
  const { inputs: given, outputs: specs } = dataSpecs(bundle.signature);
  const { shape: [batch, length] } = inputs.get(given[0].name);
  const recorded = given.map((spec) => [spec.name, framesOf(spec, inputs.get(spec.name), batch, length)]);
  const running = new Stream(ort, session, bundle, batch, { onNonfinite: state.onNonfinite });
  if ((state.restore || state.save) && batch !== 1)
    throw new Error(`a saved state is that of one stream; the input holds ${batch}`);
  if (state.restore) await running.restore(state.restore);
  const refused = [];
  const made = specs.map(({ name, dtype, shape: [, ...rest] }) => ({ name, dtype, shape: [batch, length, ...rest], data: null }));
  const widths = made.map(({ shape: [, , ...rest] }) => rest.reduce((product, size) => product * size, 1));
  for (let t = 0; t < length; ++t) {
    const outputs = await unlessRefused(running.pushForAll(Object.fromEntries(recorded.map(([name, values]) => [name, rows(values, batch, length, t)]))));
    if (!outputs) refused.push(t);
    for (const [i, one] of outputs ? made.entries() : []) {
      const { data } = outputs[one.name], width = widths[i];
      one.data ??= new data.constructor(batch * length * width);
      for (let b = 0; b < batch; ++b) one.data.set(data.subarray(b * width, (b + 1) * width), (b * length + t) * width);
    }
    await tell();
  }
  for (const [i, one] of made.entries()) {
    one.data ??= elements(zeros(one.dtype, one.shape));
    for (const t of refused) for (let b = 0; b < batch; ++b) spoil(one.dtype, one.data, (b * length + t) * widths[i], widths[i]);
  }
  const poisoned = await running.poisoned();
  await state.save?.(await running.save());
  const told = { frames: length, refused: refused.length, refused_frames: refused.slice(0, MAX_REFUSED_NAMED), poisoned };
  return { outputs: made, stream: told };
}

const unlessRefused = (pushed) => pushed.catch((error) => {
  if (error instanceof RefusedFrame) return null;
  throw error;
});

// NaN, as a 16-bit pattern where half floats are such, or 0 in integers.
function spoil(dtype, data, start, count) {
  const nan = dtype === 'float16' && data instanceof Uint16Array ? 0x7e00 : NaN;
  const zero = data instanceof BigInt64Array ? 0n : 0;
  data.fill(dtype.startsWith('float') ? nan : zero, start, start + count);
}

/**
 * The elements of a recorded input `[batch, frames, ...]`, where a step takes it as `spec`: an axis of size 1 behind the batch
 * stands for the frames. Throws where it is another.
 */
export function framesOf({ name, dtype, shape: [, ...inner] }, array, batch, length) {
  const rest = inner[0] === 1 ? inner.slice(1) : inner, { shape } = array;
  if (array.dtype !== dtype || !length || `${shape}` !== `${[batch, length, ...rest]}`)
    throw new Error(`a stream of this model takes ${name} as ${dtype} [${['batch', 'frames', ...rest].join(', ')}], not ${array.dtype} [${shape}]`);
  return elements(array);
}

// Row t of each of `batch` sequences.
function rows(values, batch, length, t) {
  const width = values.length / (batch * length);
  const frame = new values.constructor(batch * width);
  for (let b = 0; b < batch; ++b) frame.set(values.subarray((b * length + t) * width, (b * length + t + 1) * width), b * width);
  return frame;
}
