// A bundle's signature: {inputs, outputs} of {name, dtype, shape}, and of a step model the `states` that pair them.
// A size is a number, or {name, min, opt, max} of an axis that callers choose.
import { evaluate } from './sizes.mjs';

const MOST_ELEMENTS = 2 ** 40;

/**
 * Throws for a signature that has the schema's form and makes no sense. The same rules stand in
 * exporter/bundle/signature_rules.py and deploy/cpp/src/manifest.cpp, and one table of bad manifests holds all to them.
 */
export function checkSignature({ inputs, outputs, states }) {
  const refuse = (why) => new Error(`its signature ${why}`);
  const names = new Set(), axes = new Map();
  for (const { name, shape } of [...inputs, ...outputs]) {
    if (names.has(name)) throw refuse(`names ${name} twice`);
    names.add(name);
    for (const axis of shape.filter(isNamed)) {
      if (!(axis.min <= axis.opt && axis.opt <= axis.max)) throw refuse(`gives ${name} an axis that is not min <= opt <= max`);
      if (axes.has(axis.name) && canonical(axes.get(axis.name)) !== canonical(axis))
        throw refuse(`gives the axis ${axis.name} two different ranges`);
      axes.set(axis.name, axis);
    }
    if (shape.reduce((product, axis) => product * (axis.max ?? axis), 1) > MOST_ELEMENTS)
      throw refuse(`makes ${name} larger than any memory`);
  }
  const sizes = new Map(inputs.flatMap(({ shape }) => shape.filter(isNamed).map(({ name, opt }) => [name, opt])));
  for (const { name, opt } of outputs.flatMap(({ shape }) => shape.filter(isNamed)))
    if (evaluate(name, sizes) !== opt) throw refuse(`has the output axis ${name}, which is no expression of input axes with the size ${opt}`);
  if (states) checkStates(states, inputs, outputs, refuse);
}

function checkStates(states, inputs, outputs, refuse) {
  const seen = new Set();
  for (const { input, output } of states) {
    const before = inputs.find(({ name }) => name === input), after = outputs.find(({ name }) => name === output);
    if (!before || !after) throw refuse('has a state that is not an input and an output');
    if (seen.has(before) || seen.has(after)) throw refuse(`carries ${input} or ${output} twice`);
    seen.add(before).add(after);
    if (canonical([before.dtype, before.shape]) !== canonical([after.dtype, after.shape]) || !before.shape.length)
      throw refuse(`gives ${input} and ${output} different types or shapes`);
  }
  if (states.length === inputs.length || states.length === outputs.length)
    throw refuse('has states and no frame or no output beside them');
  const axis = inputs.find(({ name }) => name === states[0].input).shape[0], first = canonical(axis);
  if (axis.min < 1) throw refuse('has states of no stream');
  for (const { name, shape } of [...inputs, ...outputs])
    if (!shape.length || canonical(shape[0]) !== first) throw refuse(`gives ${name} another first axis than its states have`);
}

/** The state that says how many frames a stream has had: int64 [batch, 1]. */
export const COUNTER = 'state.frames';

/**
 * Throws where the manifest's `stream` does not fit its signature. The same rules stand in exporter/bundle/signature_rules.py
 * and deploy/cpp/src/manifest.cpp.
 */
export function checkStream(stream, { inputs, states }) {
  const refuse = (why) => new Error(`its stream ${why}`);
  if (!states) throw refuse('is that of a model without states');
  const frames = new Set(inputs.map(({ name }) => name));
  for (const { input } of states) frames.delete(input);
  for (const name of stream.static)
    if (!frames.delete(name)) throw refuse(`has the static input ${name}, which is no input beside the states`);
  if (!frames.size) throw refuse('has no input that is a frame');
  const counts = ({ name, dtype, shape }) => name === COUNTER && dtype === 'int64' && shape.length === 2 && shape[1] === 1;
  if (stream.frames && !inputs.some((spec) => counts(spec) && states.some(({ input }) => input === COUNTER)))
    throw refuse(`ends, and it has no state ${COUNTER} that counts to there`);
}

const isNamed = (axis) => typeof axis !== 'number';

/** The inputs of a step model that are no states: frames, and static ones. */
export const stepInputs = ({ inputs, states }) => inputs.filter(({ name }) => !states.some((pair) => pair.input === name));

/** Throws where a step model is not what `Stream` runs: inputs beside its states have no open axis but the batch. */
export function checkStep(signature) {
  const open = stepInputs(signature).find(({ shape: [, ...rest] }) => rest.some(isNamed));
  if (open) throw new Error(`streams of this model are not run here: ${open.name} has an open axis beside the batch`);
}

/** The outputs of a step model that are no states. */
export const stepOutputs = ({ outputs, states }) => outputs.filter(({ name }) => !states.some((pair) => pair.output === name));

/** Whether the model takes one frame and its state at a time. */
export const isStep = (signature) => signature.states !== undefined;

/** JSON with sorted keys, so that equal signatures are equal texts. */
export function canonical(value) {
  return JSON.stringify(value, (_, item) =>
    item && typeof item === 'object' && !Array.isArray(item)
      ? Object.fromEntries(Object.entries(item).sort(([a], [b]) => (a < b ? -1 : 1)))
      : item);
}
