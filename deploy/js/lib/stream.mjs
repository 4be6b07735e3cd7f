// A step model running frame by frame, its state kept inside.
import { firstNonFinite } from './nonfinite.mjs';
import { elements, sizeOf, zeros } from './npy.mjs';
import { checkStep, COUNTER, stepInputs, stepOutputs } from './signature.mjs';
import { identityOf, readState, writeState } from './state_bytes.mjs';

/** A frame that holds NaN or infinity: the stream never saw it and goes on with the next one. */
export class RefusedFrame extends Error {}

/** A frame after the last that the model has a position for: the stream never saw it, and `reset` starts it anew. */
export class EndedStream extends Error {}

/**
 * `batch` independent streams. The tensors that a frame leaves are the next frame's input as they are, nothing is
 * copied between; in WebGPU they never leave the GPU. A frame that fails leaves the state as it was.
 * @param {{onNonfinite?: 'refuse' | 'pass'}} policy what becomes of a frame that is not finite: one that is passed ends up
 *   in the state, and in most architectures every later output of that stream is NaN
 */
export class Stream {
  #ort; #session; #manifest; #signature; #batch; #inputs; #state; #passes; #end; #seen; #busy = false;

  constructor(ort, session, { signature, manifest }, batch = 1, { onNonfinite = 'refuse' } = {}) {
    checkStep(signature);
    const [{ shape: [axis] }] = signature.inputs;
    const { min, max } = typeof axis === 'number' ? { min: axis, max: axis } : axis;
    if (batch < min || batch > max)
      throw new Error(`${batch} streams at once; the model takes ${min === max ? min : `${min} to ${max}`}`);
    if (onNonfinite !== 'refuse' && onNonfinite !== 'pass') throw new Error(`onNonfinite is refuse or pass, not ${onNonfinite}`);
    this.#passes = onNonfinite === 'pass';
    [this.#ort, this.#session, this.#signature, this.#manifest] = [ort, session, signature, manifest];
    this.#batch = batch;
    this.#end = manifest.stream?.frames ?? 0;
    this.#inputs = stepInputs(signature).map(({ name, dtype, shape: [, ...rest] }) => ({ name, dtype, dims: [batch, ...rest] }));
    this.reset();
  }

  /** Every stream starts anew: the state before the first frame is zero. */
  reset() {
    this.#checkIdle();
    for (const tensor of Object.values(this.#state ?? {})) tensor.dispose();
    const { inputs, states } = this.#signature;
    const zero = ({ input }) => {
      const { dtype, shape: [, ...rest] } = inputs.find(({ name }) => name === input), dims = [this.#batch, ...rest];
      return [input, new this.#ort.Tensor(dtype, elements(zeros(dtype, dims)), dims)];
    };
    this.#state = Object.fromEntries(states.map(zero));
    this.#seen = new Array(this.#batch).fill(0);
  }

  /** The stream at `entry` starts anew, the others go on. */
  resetEntry(entry) {
    return this.#alone(async () => this.#change(await this.#download(entry), entry, (row) => row.fill(0)));
  }

  /**
   * One frame of every stream, `values` of [batch, ...]: of a model with several inputs, static ones too, an object of them
   * by name. Gives the output tensor [batch, ...], and of a model with several outputs an object of them by name. Rejects
   * with RefusedFrame, and with EndedStream where the model has positions for as many frames as came.
   */
  async push(values) {
    const outputs = await this.pushForAll(values), tensors = Object.values(outputs);
    return tensors.length === 1 ? tensors[0] : outputs;
  }

  /** The same, always as an object by name. */
  pushForAll(values) {
    const { states } = this.#signature;
    return this.#alone(async () => {
      const frame = this.#feeds(values), before = this.#state;
      this.#checkEnd();
      const after = await this.#session.run({ ...frame, ...before });
      this.#state = Object.fromEntries(states.map(({ input, output: next }) => [input, after[next]]));
      for (const tensor of Object.values(before)) tensor.dispose();
      this.#seen = this.#seen.map((frames) => frames + 1);
      return Object.fromEntries(stepOutputs(this.#signature).map(({ name: output }) => [output, after[output]]));
    });
  }

  /** Whether the state of any stream, or of the one at `entry`, holds NaN or infinity. */
  poisoned(entry) {
    return this.#alone(async () => {
      const tensors = await this.#download(entry ?? 0);
      return tensors.some((tensor) => {
        const bytes = entry === undefined ? tensor.bytes : this.#row(tensor, entry);
        return firstNonFinite(tensor.dtype, elements({ ...tensor, bytes })) !== null;
      });
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
      const given = await readState(identity, state, rows);
      this.#change(tensors, entry, (row, i) => row.set(given[i]));
    });
  }

  // What was pushed as tensors by name.
  #feeds(values) {
    const given = ArrayBuffer.isView(values) ? { [this.#inputs[0].name]: values } : values;
    const wanted = this.#inputs.map(({ name }) => name), names = Object.keys(given);
    if (names.length !== wanted.length || wanted.some((name) => !Object.hasOwn(given, name)))
      throw new Error(`a frame is ${wanted.join(', ')}; given was ${names.join(', ') || 'nothing'}`);
    return Object.fromEntries(this.#inputs.map(({ name, dtype, dims }) => {
      const array = given[name], bad = this.#passes ? null : firstNonFinite(dtype, array);
      if (array.length !== sizeOf(dims)) throw new Error(`${name} is [${dims}]; given were ${array.length} elements`);
      if (bad) {
        const row = Math.floor(bad.index / (array.length / this.#batch));
        throw new RefusedFrame(`the frame is refused: ${name} holds ${bad.what} in row ${row} of the batch; the state is as it was`);
      }
      return [name, new this.#ort.Tensor(dtype, array, dims)];
    }));
  }

  // The state becomes `tensors` after `write` has changed the row of one stream in each.
  #change(tensors, entry, write) {
    const before = Object.values(this.#state);
    this.#state = Object.fromEntries(tensors.map((tensor, i) => {
      write(this.#row(tensor, entry), i);
      return [tensor.name, new this.#ort.Tensor(tensor.dtype, elements(tensor), tensor.shape)];
    }));
    for (const tensor of before) tensor.dispose();
    if (this.#end) {
      const counter = tensors.find(({ name }) => name === COUNTER);
      this.#seen[entry] = Number(elements({ ...counter, bytes: this.#row(counter, entry).slice(), shape: [1] })[0]);
    }
  }

  // Copies of all state tensors in the order of the signature, wherever they are.
  #download(entry) {
    if (!Number.isInteger(entry) || entry < 0 || entry >= this.#batch)
      throw new Error(`there is no stream ${entry} among ${this.#batch}`);
    return Promise.all(this.#signature.states.map(async ({ input: name }) => {
      const { type: dtype, dims: shape } = this.#state[name];
      const { buffer, byteOffset, byteLength } = await this.#state[name].getData();
      return { name, dtype, shape, bytes: new Uint8Array(buffer, byteOffset, byteLength).slice() };
    }));
  }

  // The bytes of one stream, in place.
  #row({ bytes }, entry) {
    const width = bytes.length / this.#batch;
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

  #checkEnd() {
    const entry = this.#end ? this.#seen.findIndex((frames) => frames >= this.#end) : -1;
    if (entry >= 0)
      throw new EndedStream(`the frame is refused: stream ${entry} of the batch has had ${this.#end} frames, and the model has `
        + 'positions for no more; reset starts it anew');
  }

  #checkIdle() {
    if (this.#busy) throw new Error('a frame is still running; wait for its output first');
  }
}
