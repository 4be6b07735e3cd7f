// The native engine of a bundle in the form of onnxruntime-node, so that whatever runs models here runs it too.
import { ARRAYS } from '../lib/npy.mjs';
import { evaluate } from '../lib/sizes.mjs';
import { loadEngine } from './engine.mjs';

/** {ort, runtime, version, path}: `ort` has the `Tensor` and the `InferenceSession.create` that the runners use. */
export async function loadNative(bundle) {
  const engine = await loadEngine(bundle);
  const ort = { Tensor, InferenceSession: { create: async () => new Session(engine, bundle.signature) } };
  return { ort, runtime: 'native', version: engine.version, path: `native engine ${engine.version}, ${engine.isa}` };
}

const count = (dims) => dims.reduce((product, size) => product * size, 1);
const zeros = (dtype, dims) => new ARRAYS[dtype](count(dims));

class Tensor {
  #read;

  /** `data` may be a function that gives it when it is asked for. */
  constructor(type, data, dims) {
    if (typeof data !== 'function' && (!(data instanceof ARRAYS[type]) || data.length !== count(dims)))
      throw new Error(`${data.length} elements are no ${type} [${dims}]`);
    Object.assign(this, { type, dims });
    this.#read = typeof data === 'function' ? data : () => data;
  }

  get data() {
    return this.#read();
  }

  async getData() {
    return this.data;
  }

  dispose() {}
}

/**
 * The states that the last frame left. They stay in the engine until somebody reads them or another stream takes their
 * place; those that the next frame takes up are never copied.
 */
class Left {
  #store; #arrays = null;

  constructor(specs, instance, sizes) {
    this.#store = () => {
      const arrays = specs.map(({ dtype, dims }) => zeros(dtype, dims));
      instance.store(sizes, arrays);
      return arrays;
    };
    this.tensors = specs.map(({ dtype, dims }, i) => new Tensor(dtype, () => this.read()[i], dims));
  }

  read() {
    if (!this.#arrays && !this.#store) throw new Error('this state went into the next frame');
    return (this.#arrays ??= this.#store());
  }

  /** From now on the engine holds other states. */
  end() {
    this.#store = null;
  }
}

class Session {
  #engine; #signature; #instance; #left = null;

  constructor(engine, signature) {
    [this.#engine, this.#signature, this.#instance] = [engine, signature, engine.create()];
    [this.inputNames, this.outputNames] = [signature.inputs, signature.outputs].map((specs) => specs.map(({ name }) => name));
  }

  async run(feeds) {
    const { inputs, outputs, states = [] } = this.#signature;
    const named = new Map(inputs.flatMap(({ name, shape }) => shape.map((axis, d) => [axis.name, feeds[name].dims[d]])));
    const sizes = BigInt64Array.from([...this.#engine.axes, ''], (axis) => BigInt(named.get(axis) ?? 0));
    const sized = ({ shape, ...spec }) => ({ ...spec, dims: shape.map((axis) => (typeof axis === 'number' ? axis : evaluate(axis.name, named))) });
    const before = states.map(({ input }) => feeds[input]);
    if (!this.#left || before.some((tensor, i) => tensor !== this.#left.tensors[i])) this.#takeUp(before, sizes);
    const given = inputs.filter(({ name }) => !states.some(({ input }) => input === name)).map(({ name }) => feeds[name].data);
    const made = outputs.filter(({ name }) => !states.some(({ output }) => output === name)).map(sized)
      .map(({ name, dtype, dims }) => [name, new Tensor(dtype, zeros(dtype, dims), dims)]);
    this.#instance.run(sizes, given, made.map(([, tensor]) => tensor.data));
    this.#left?.end();
    this.#left = new Left(states.map(({ output }) => sized(outputs.find(({ name }) => name === output))), this.#instance, sizes);
    return Object.fromEntries([...made, ...states.map(({ output }, i) => [output, this.#left.tensors[i]])]);
  }

  // States of another stream, or of a caller: those that the engine holds go to whoever has their tensors.
  #takeUp(states, sizes) {
    const arrays = states.map(({ data }) => data);
    this.#left?.read();
    this.#left?.end();
    this.#left = null;
    if (states.length) this.#instance.load(sizes, arrays);
  }
}
