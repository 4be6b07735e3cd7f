// The recorded cases of a bundle: inputs, float64 oracle outputs and how far a runtime may be off.
import { dataSpecs } from './inference.mjs';
import { elements } from './npy.mjs';
import { readNpz } from './npz.mjs';

/**
 * The cases: [{name, input, output, bound}], each a Map from tensor name to array. A case of a step model is a
 * stream: frames [batch, frames, features] in, every output [batch, frames, ...] out, the state zero before it.
 */
export async function readVectors(bundle) {
  const refuse = (why) => new Error(`vectors.npz is refused: ${why}`);
  const file = await bundle.file('vectors.npz');
  let arrays;
  try {
    arrays = readNpz(file);
  } catch (error) {
    throw refuse(error.message);
  }
  const cases = new Map();
  for (const [path, array] of arrays) {
    const [name, kind, tensor] = path.split('/');
    if (!cases.has(name)) cases.set(name, { name, input: new Map(), output: new Map(), bound: new Map() });
    const own = cases.get(name)[kind];
    if (!(own instanceof Map)) throw refuse(`${path} belongs to no case`);
    own.set(tensor, array);
  }
  const { inputs, outputs } = dataSpecs(bundle.signature);
  for (const one of cases.values()) {
    const complete = inputs.every(({ name, dtype }) => one.input.get(name)?.dtype === dtype) &&
      outputs.every(({ name }) => one.output.get(name)?.dtype === 'float64' && one.bound.get(name)?.dtype === 'float64');
    if (!complete) throw refuse(`case ${one.name} is not what the signature says`);
    // NaN says that there is nothing to judge, infinity would pass everything
    for (const { name } of outputs)
      if (elements(one.bound.get(name)).some((value) => value < 0 || value === Infinity))
        throw refuse(`the bound of ${name} in case ${one.name} allows any error`);
  }
  if (!cases.size) throw refuse('it records no case');
  return [...cases.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
}
