// A step model running frame by frame, its state kept inside.
import { elements, zeros } from './npy.mjs';
import { checkStep } from './signature.mjs';
import { identityOf, readState, writeState } from './state_bytes.mjs';

/**
 * `batch` independent streams. The tensors that a frame leaves are the next frame's input as they are, nothing is
 * copied between; in WebGPU they never leave the GPU. A frame that fails leaves the state as it was.
 */
export class Stream {
  #ort; #session; #manifest; #signature; #frame; #state; #busy = false;

  constructor(ort, session, { signature, manifest }, batch = 1) {
    checkStep(signature);
    const [{ shape: [axis, , features] }] = signature.inputs;
    const { min, max } = typeof axis === 'number' ? { min: axis, max: axis } : axis;
    if (batch < min || batch > max)
      throw new Error(`${batch} streams at once; the model takes ${min === max ? min : `${min} to ${max}`}`);
    [this.#ort, this.#session, this.#signature, this.#manifest] = [ort, session, signature, manifest];
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
  push(values) {
    const { inputs: [{ name, dtype }], outputs: [{ name: output }], states } = this.#signature;
    return this.#alone(async () => {
      const before = this.#state;
      const after = await this.#session.run({ [name]: new this.#ort.Tensor(dtype, values, this.#frame), ...before });
      this.#state = Object.fromEntries(states.map(({ input, output: next }) => [input, after[next]]));
      for (const tensor of Object.values(before)) tensor.dispose();
      return after[output];
    });
  }

  /** The state of one of the streams as bytes, to go on from in any stream of the same model, here or in C++. */
  save(entry = 0) {
    return this.#alone(async () => {
      const tensors = await this.#download(entry);
      return writeState(await identityOf(this.#manifest), tensors.map((tensor) => this.#row(tensor, entry)));
    });
  }

  /** Goes on from what `save` gave; other or damaged bytes are refused and change nothing. */
  restore(state, entry = 0) {
    return this.#alone(async () => {
      const tensors = await this.#download(entry), identity = await identityOf(this.#manifest);
      const rows = tensors.map((tensor) => ({ dtype: tensor.dtype, bytes: this.#row(tensor, entry).length }));
      const given = await readState(identity, state, rows), before = Object.values(this.#state);
      this.#state = Object.fromEntries(tensors.map((tensor, i) => {
        this.#row(tensor, entry).set(given[i]);
        return [tensor.name, new this.#ort.Tensor(tensor.dtype, elements(tensor), tensor.shape)];
      }));
      for (const tensor of before) tensor.dispose();
    });
  }

  // Copies of all state tensors in the order of the signature, wherever they are.
  #download(entry) {
    if (!Number.isInteger(entry) || entry < 0 || entry >= this.#frame[0])
      throw new Error(`there is no stream ${entry} among ${this.#frame[0]}`);
    return Promise.all(this.#signature.states.map(async ({ input: name }) => {
      const { type: dtype, dims: shape } = this.#state[name];
      const { buffer, byteOffset, byteLength } = await this.#state[name].getData();
      return { name, dtype, shape, bytes: new Uint8Array(buffer, byteOffset, byteLength).slice() };
    }));
  }

  // The bytes of one stream, in place.
  #row({ bytes }, entry) {
    const width = bytes.length / this.#frame[0];
    return bytes.subarray(entry * width, (entry + 1) * width);
  }

  // One thing at a time.
  async #alone(work) {
    this.#checkIdle();
    this.#busy = true;
    try {
      return await work();
    } finally {
      this.#busy = false;
    }
  }

  #checkIdle() {
    if (this.#busy) throw new Error('a frame is still running; wait for its output first');
  }
}
