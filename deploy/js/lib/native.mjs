// The native engine of a bundle in the form of ONNX Runtime, so that whatever runs models here runs it too.
import { Engine } from './engine.mjs';
import { ARRAYS } from './npy.mjs';
import { evaluate } from './sizes.mjs';

const REPORT = 'engine.json', TARGET = 'native';

/** What engine.json of a bundle says of its native engine, or null where it has none. */
export async function engineEntry(bundle) {
  if (!Object.hasOwn(bundle.manifest.files, REPORT)) return null;
  const { engines } = JSON.parse(new TextDecoder().decode(await bundle.file(REPORT))) ?? {};
  return [engines].flat().find((one) => one?.target === TARGET && one.file) ?? null;
}

/**
 * {ort, runtime, version, path, recorded}: `ort` has the `Tensor` and the `InferenceSession.create` that the runners use;
 * `recorded` has the SHA-256 of the outputs that the engine gives, by the names of recorded cases.
 * @param {(bundle: object, entry: object) => Promise<object>} load gives {axes, model, isa, version, create}; `create()` is
 *   an instance with memory of its own: `run(sizes, inputs, outputs)`, `load(sizes, states)` and `store(sizes, states)` on
 *   typed arrays, sizes in the order of `axes`
 */
export async function loadNative(bundle, load) {
  const entry = await engineEntry(bundle);
  if (!entry) throw new Error('the bundle has no native engine; temport export --target native compiles one');
  if (entry.model_sha256 !== bundle.manifest.files['model.onnx'].sha256) throw new Error(`${entry.file} was compiled from another model than model.onnx`);
  const engine = await (entry.isa === 'wasm' ? loadWebAssembly : load)(bundle, entry);
  if (engine.model !== entry.model_sha256 || engine.isa !== entry.isa || engine.version !== entry.versions?.temport)
    throw new Error(`${entry.file} is not what ${REPORT} says`);
  const ort = { Tensor, InferenceSession: { create: async () => new Session(engine, bundle.signature) } };
  const recorded = entry.outputs_sha256 ?? {};
  return { ort, runtime: 'native', version: engine.version, path: `native engine ${engine.version}, ${engine.isa}`, recorded };
}

async function loadWebAssembly(bundle, { file }) {
  const engine = await Engine.load(await bundle.file(file));
  const { inputs, outputs, states, model, version } = engine, axes = engine.axes.map(({ name }) => name);
  const named = (tensors, arrays) => Object.fromEntries(tensors.map(({ name }, i) => [name, arrays[i]]));
  const sized = (sizes) => Object.fromEntries(axes.map((name, i) => [name, Number(sizes[i])]));
  const fill = (tensors, arrays, values) => tensors.forEach(({ name }, i) => arrays[i].set(values[name]));
  const create = () => {
    const instance = engine.instance();
    return {
      run: (sizes, given, made) =>
        fill(outputs, made, instance.run(named(inputs, given), { sizes: sized(sizes), passNonfinite: true })),
      load: (sizes, arrays) => instance.load(named(states, arrays), sized(sizes)),
      store: (sizes, arrays) => fill(states, arrays, instance.store(sized(sizes))),
    };
  };
  return { axes, model, isa: 'wasm', version, create };
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
