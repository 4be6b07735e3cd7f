// A step model running frame by frame, its state kept inside.
import { elements, zeros } from './npy.mjs';

/**
 * `batch` independent streams. The tensors that a frame leaves are the next frame's input as they are, nothing is
 * copied between; in WebGPU they never leave the GPU. A frame that fails leaves the state as it was.
 */
export class Stream {
  #ort; #session; #signature; #frame; #state; #busy = false;

  constructor(ort, session, signature, batch = 1) {
    const [{ shape: [axis, , features] }] = signature.inputs;
    const { min, max } = typeof axis === 'number' ? { min: axis, max: axis } : axis;
    if (batch < min || batch > max)
      throw new Error(`${batch} streams at once; the model takes ${min === max ? min : `${min} to ${max}`}`);
    [this.#ort, this.#session, this.#signature] = [ort, session, signature];
    this.#frame = [batch, 1, features];
    this.reset();
  }

  /** Every stream starts anew: the state before the first frame is zero. */
  reset() {
    this.#checkIdle();
    for (const tensor of Object.values(this.#state ?? {})) tensor.dispose();
    const [batch] = this.#frame;
    this.#state = Object.fromEntries(this.#signature.inputs.slice(1).map(({ name, dtype, shape: [, ...rest] }) =>
      [name, new this.#ort.Tensor(dtype, elements(zeros(dtype, [batch, ...rest])), [batch, ...rest])]));
  }

  /** One frame of every stream, `values` of [batch, features]; the output tensor [batch, ...]. */
  async push(values) {
    this.#checkIdle();
    const { inputs: [{ name, dtype }], outputs: [{ name: output }], states } = this.#signature;
    this.#busy = true;
    try {
      const before = this.#state;
      const after = await this.#session.run({ [name]: new this.#ort.Tensor(dtype, values, this.#frame), ...before });
      this.#state = Object.fromEntries(states.map(({ input, output: next }) => [input, after[next]]));
      for (const tensor of Object.values(before)) tensor.dispose();
      return after[output];
    } finally {
      this.#busy = false;
    }
  }

  #checkIdle() {
    if (this.#busy) throw new Error('a frame is still running; wait for its output first');
  }
}
