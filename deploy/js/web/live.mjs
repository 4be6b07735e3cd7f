// A model fed one frame at a time, as a sensor gives them.
import { isStep, stepInputs } from '../lib/signature.mjs';
import { Stream } from '../lib/stream.mjs';

const HISTORY = 200, FRAME_MS = 1000 / 60, DRAW_MS = 100;

/** Why frames cannot be fed to this model one by one, or null. */
export function liveRefusal({ inputs, ...rest }) {
  const [{ dtype, shape }] = inputs;
  const fits = dtype === 'float32' && shape.length === 3 && typeof shape[2] === 'number' && (shape[0].min ?? shape[0]) === 1;
  const { length } = isStep(rest) ? stepInputs({ inputs, ...rest }) : inputs;
  return fits && length === 1 ? null : 'frames of one sensor are no input of this model';
}

/** `{width, way, push}`: features of a frame, how the model sees them, and frame in, values of the newest output out. */
export function liveModel(ort, session, bundle) {
  const { signature } = bundle;
  const [{ name, shape: [, time, width] }] = signature.inputs;
  if (isStep(signature)) {
    const stream = new Stream(ort, session, bundle);
    return { width, way: 'step model, its state kept between frames', push: async (frame) => newest(await stream.push(Float32Array.from(frame))) };
  }
  const window = new Window(time.opt ?? time, width), output = signature.outputs[0].name;
  const push = async (frame) => {
    window.push(frame);
    const feeds = { [name]: new ort.Tensor('float32', window.values, [1, window.length, width]) };
    return newest((await session.run(feeds))[output]);
  };
  return { width, way: `the last ${window.length} frames computed anew at every frame`, push };
}

/**
 * Feeds `frames` at 60 Hz while `going()`, and gives `draw` what was last seen ten times a second:
 * {frames, inputs, outputs, latencies}, the newest last, latencies in microseconds.
 */
export async function live(model, frames, going, draw) {
  const seen = { frames: 0, inputs: [], outputs: [], latencies: [] };
  let due = performance.now(), drawn = 0;
  for (const frame of frames) {
    if (!going()) return;
    const before = performance.now();
    const output = await model.push(frame);
    const after = performance.now();
    seen.frames++;
    for (const [kept, item] of [[seen.inputs, frame], [seen.outputs, output], [seen.latencies, 1000 * (after - before)]]) {
      kept.push(item);
      if (kept.length > HISTORY) kept.shift();
    }
    if (after - drawn > DRAW_MS) draw(seen), (drawn = after);
    due = Math.max(due + FRAME_MS, performance.now());
    await new Promise((resolve) => setTimeout(resolve, due - performance.now()));
  }
  draw(seen);
}

// The values of the last position of the first batch entry.
const newest = ({ data, dims }) => Array.from(data.slice(-Number(dims.at(-1))));

/** The last `length` frames, oldest first; before that many came, the first one stands in for the missing. */
export class Window {
  constructor(length, width) {
    this.length = length;
    this.width = width;
    this.values = new Float32Array(length * width);
    this.filled = false;
  }
  push(frame) {
    if (!this.filled) for (let t = 0; t < this.length; ++t) this.values.set(frame, t * this.width);
    this.filled = true;
    this.values.copyWithin(0, this.width);
    this.values.set(frame, (this.length - 1) * this.width);
  }
}
