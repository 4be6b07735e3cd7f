// A bundle's model in an ONNX Runtime of JavaScript (onnxruntime-node or onnxruntime-web, given as `ort`).
import { isWeights } from './bundle.mjs';
import { elements } from './npy.mjs';

// ONNX Runtime's fused kernel is about ten times slower than LayerNormalization followed by Add; of products of fp8 it
// makes kernels of int8, and then refuses the model.
const config = ({ declaration }) => ({
  optimization: {
    disable_specified_optimizers:
      declaration.weights_dtype === 'fp8' ? 'SkipLayerNormFusion;QDQSelectorActionTransformer' : 'SkipLayerNormFusion',
  },
  // compressed weights meet activations in float32, not rounded to int8 (level 4, ONNX Runtime's default)
  session: { qdq_matmulnbits_accuracy_level: '1' },
});

/** Why a provider (`cpu`, `wasm`, `webgpu`) cannot compute this model, or null. */
export function refusal(bundle, provider, halfFloats) {
  const { precision } = bundle.manifest.declaration;
  if (precision !== 'float32' && precision !== 'float16')
    return `ONNX Runtime's ${provider} kernels do not compute in ${precision}`;
  if (precision === 'float16' && !halfFloats) return `this GPU has no half floats (shader-f16) for ${provider}`;
  return null;
}

/** Loads the model; the graph's names must be those of the signature. */
export async function createSession(ort, bundle, provider, threads = 1) {
  const { inputs, outputs, states } = bundle.signature;
  // the state of a step model stays where it is computed
  const kept = provider === 'webgpu' ? (states ?? []).map(({ output }) => [output, 'gpu-buffer']) : [];
  const session = await ort.InferenceSession.create(bundle.model, {
    executionProviders: [provider],
    externalData: await externalData(bundle),
    preferredOutputLocation: Object.fromEntries(kept),
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    logSeverityLevel: 3,
    extra: config(bundle.manifest),
  });
  const names = (specs) => specs.map(({ name }) => name).join(', ');
  if (session.inputNames.join(', ') !== names(inputs) || session.outputNames.join(', ') !== names(outputs))
    throw new Error('model.onnx is refused: its graph has other inputs or outputs than its signature');
  return session;
}

/** `array` ({dtype, shape, bytes}) as a tensor for the input `spec`; sizes must lie in the signature's ranges. */
export function toTensor(ort, spec, array) {
  if (array.dtype !== spec.dtype || array.shape.length !== spec.shape.length)
    throw new Error(`${spec.name} is ${spec.dtype} of rank ${spec.shape.length}, not ${array.dtype} [${array.shape}]`);
  array.shape.forEach((size, d) => {
    const axis = spec.shape[d];
    const { name, min, max } = typeof axis === 'number' ? { name: `${d} of ${spec.name}`, min: axis, max: axis } : axis;
    if (size < min || size > max)
      throw new Error(`axis ${name} is ${size}; the model takes ${min === max ? min : `${min} to ${max}`}`);
  });
  return new ort.Tensor(spec.dtype, elements(array), array.shape);
}

/** The arrays of `inputs`, a Map by name, as what `session.run` takes. */
export function toFeeds(ort, bundle, inputs) {
  return Object.fromEntries(bundle.signature.inputs.map((spec) => {
    const array = inputs.get(spec.name);
    if (!array) throw new Error(`no array is given for the input ${spec.name}`);
    return [spec.name, toTensor(ort, spec, array)];
  }));
}

// Weights beside the model, as checked bytes: the runtime opens no file itself.
async function externalData(bundle) {
  const names = Object.keys(bundle.manifest.files).filter(isWeights);
  return Promise.all(names.map(async (path) => ({ path, data: await bundle.file(path) })));
}
