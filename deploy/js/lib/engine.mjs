// A native engine in WebAssembly, `engine/NAME.wasm` of a bundle: the C table of custom_ops/engine/temport_engine.h, with
// pointers of four bytes. Needs nothing beside it, in node, browsers and workers.
import { evaluate } from './sizes.mjs';

const ABI = 2, PASS_NONFINITE = 1, PAGE = 65536;
const NONFINITE = 6;
const REFUSED = {
  3: 'there is no such entry, or an axis is outside its range', 7: 'it is not the saved state of a stream',
  8: 'it was saved with another model', 9: 'it is damaged',
};
const ARRAYS = { // half floats as 16-bit patterns
  1: Float32Array, 2: Uint8Array, 3: Int8Array, 5: Int16Array, 6: Int32Array, 7: BigInt64Array, 9: Uint8Array, 10: Uint16Array,
};

/** An input that holds NaN or infinity: nothing was run, the state is as it was. */
export class RefusedInput extends Error {}

/**
 * A loaded engine; what runs are its instances, which share the weights.
 * `axes` [{name, min, max}]; `inputs`, `outputs`, `states` [{name, array: constructor, shape: numbers and expressions}].
 */
export class Engine {
  #exports; #end;

  /** @param {BufferSource | WebAssembly.Module} code */
  static async load(code) {
    const module = code instanceof WebAssembly.Module ? code : await WebAssembly.compile(code);
    return new Engine((await WebAssembly.instantiate(module)).exports);
  }

  constructor(exports) {
    this.#exports = exports;
    this.#end = exports.__heap_base.value;
    const view = new DataView(exports.memory.buffer), table = exports.engine();
    const word = (at) => view.getUint32(at, true), long = (at) => Number(view.getBigInt64(at, true));
    const text = (at) => {
      const bytes = new Uint8Array(exports.memory.buffer, at);
      return new TextDecoder().decode(bytes.subarray(0, bytes.indexOf(0)));
    };
    const list = (count, at, size, read) => Array.from({ length: word(count) }, (_, i) => read(word(at) + i * size));
    if (word(table) !== ABI) throw new Error(`the engine has version ${word(table)} of the C interface, and this is ${ABI}`);
    const tensor = (at) => ({
      name: text(word(at)),
      array: ARRAYS[word(at + 4)],
      shape: Array.from({ length: word(at + 8) }, (_, d) => {
        const size = word(word(at + 20) + 4 * d);
        return size ? text(size) : long(word(at + 12) + 8 * d);
      }),
      most: Array.from({ length: word(at + 8) }, (_, d) => long(word(at + 12) + 8 * d)).reduce((a, b) => a * b, 1),
    });
    Object.assign(this, {
      version: text(word(table + 4)),
      model: text(word(table + 8)),
      memoryBytes: word(table + 16),
      axes: list(table + 32, table + 48, 24, (at) => ({ name: text(word(at)), min: long(at + 8), max: long(at + 16) })),
      inputs: list(table + 36, table + 52, 24, tensor),
      outputs: list(table + 40, table + 56, 24, tensor),
      states: list(table + 44, table + 60, 24, tensor),
    });
  }

  instance() {
    return new Instance(this, this.#exports, (bytes) => this.#take(bytes));
  }

  // Memory for good, on cache lines of its own.
  #take(bytes) {
    const at = Math.ceil(this.#end / 64) * 64, { memory } = this.#exports;
    this.#end = at + bytes;
    const missing = this.#end - memory.buffer.byteLength;
    if (missing > 0) memory.grow(Math.ceil(missing / PAGE));
    return at;
  }
}

/** An inference, or the streams of a step model. Memory of its own: the state of a step model, zero at first. It lives as long as its engine. */
export class Instance {
  #engine; #exports; #take; #memory; #sizes; #places; #saved;

  constructor(engine, exports, take) {
    [this.#engine, this.#exports, this.#take] = [engine, exports, take];
    this.#memory = take(engine.memoryBytes);
    this.#sizes = take(8 * engine.axes.length);
    const places = (tensors) => ({
      pointers: take(4 * tensors.length),
      at: tensors.map(({ array, most }) => take(most * array.BYTES_PER_ELEMENT)),
    });
    this.#places = { inputs: places(engine.inputs), outputs: places(engine.outputs), states: places(engine.states) };
    this.reset();
  }

  /** All states become zero. */
  reset() {
    this.#exports.reset(this.#memory);
  }

  /**
   * Outputs by name for inputs by name, typed arrays of dense tensors; of a step model one frame, whose state stays inside.
   * Throws RefusedInput.
   * @param {Record<string, ArrayLike>} inputs
   * @param {{sizes?: Record<string, number>, passNonfinite?: boolean}} options `sizes` of open axes, the largest if not given
   */
  run(inputs, { sizes = {}, passNonfinite = false } = {}) {
    const known = this.#known(sizes), { inputs: given, outputs: made } = this.#places;
    this.#write(this.#engine.inputs, given, inputs, known);
    this.#point(made);
    const flags = passNonfinite ? PASS_NONFINITE : 0;
    const code = this.#exports.run(this.#memory, this.#sizes, given.pointers, made.pointers, flags);
    if (code === NONFINITE) throw new RefusedInput('an input holds NaN or infinity');
    if (code) throw new Error(`the sizes ${[...known].join(', ')} are outside the ranges of the engine`);
    return this.#read(this.#engine.outputs, made, known);
  }

  /** The state of one of the streams as bytes, to go on from in any stream of the same model, here, in C++ or in Python. */
  save(entry = 0) {
    const [at, bytes] = this.#room();
    const code = this.#exports.save(this.#memory, this.#sizes, entry, at);
    if (code) throw new Error(`the state is not saved: ${REFUSED[code]}`);
    return new Uint8Array(this.#exports.memory.buffer, at, bytes).slice();
  }

  /** Goes on from what `save` gave; other or damaged bytes are refused and change nothing. */
  restore(state, entry = 0) {
    const [at, bytes] = this.#room();
    new Uint8Array(this.#exports.memory.buffer, at, bytes).set(state.subarray(0, bytes));
    const code = this.#exports.restore(this.#memory, this.#sizes, entry, at, state.length);
    if (code) throw new Error(`the state is refused: ${REFUSED[code]}`);
  }

  /** The states by name, as dense tensors. */
  store(sizes = {}) {
    const known = this.#known(sizes), { states } = this.#places;
    this.#point(states);
    this.#exports.store(this.#memory, this.#sizes, states.pointers);
    return this.#read(this.#engine.states, states, known);
  }

  /** Goes on from what `store` gave. */
  load(states, sizes = {}) {
    this.#write(this.#engine.states, this.#places.states, states, this.#known(sizes));
    this.#exports.load(this.#memory, this.#sizes, this.#places.states.pointers);
  }

  // Where a saved state lies, and its bytes.
  #room() {
    this.#known({});
    const bytes = this.#exports.saved_bytes(this.#sizes);
    return [(this.#saved ??= this.#take(bytes)), bytes];
  }

  #known(sizes) {
    const known = new Map(this.#engine.axes.map(({ name, max }) => [name, sizes[name] ?? max]));
    const stray = Object.keys(sizes).find((name) => !known.has(name));
    if (stray) throw new Error(`the engine has no axis ${stray}; it has ${[...known.keys()].join(', ')}`);
    new BigInt64Array(this.#exports.memory.buffer, this.#sizes, known.size).set([...known.values()].map(BigInt));
    return known;
  }

  #write(tensors, places, values, known) {
    tensors.forEach(({ name, array, shape }, i) => {
      const elements = count(shape, known), value = values[name];
      if (value?.length !== elements) throw new Error(`${name} has ${elements} elements, not ${value?.length ?? 'none'}`);
      new array(this.#exports.memory.buffer, places.at[i], elements).set(value);
    });
    this.#point(places);
  }

  #read(tensors, { at }, known) {
    const { buffer } = this.#exports.memory;
    return Object.fromEntries(tensors.map(({ name, array, shape }, i) =>
      [name, new array(buffer, at[i], count(shape, known)).slice()]));
  }

  #point({ pointers, at }) {
    new Uint32Array(this.#exports.memory.buffer, pointers, at.length).set(at);
  }
}

const count = (shape, known) =>
  shape.reduce((product, size) => product * (typeof size === 'number' ? size : evaluate(size, known)), 1);
