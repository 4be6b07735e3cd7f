// A bundle's signature: {inputs, outputs} of {name, dtype, shape}, and of a step model the `states` that pair them.
// A size is a number, or {name, min, opt, max} of an axis that callers choose.

/** Throws the sentence of `refuse` where the signature is malformed. */
export function checkSignature(signature, refuse) {
  for (const side of ['inputs', 'outputs']) {
    const specs = signature?.[side];
    if (!Array.isArray(specs) || !specs.length) throw refuse(`its signature has no ${side}`);
    if (!specs.every(isSpec) || new Set(specs.map(({ name }) => name)).size !== specs.length)
      throw refuse(`its signature's ${side} are malformed`);
  }
  if (signature.states === undefined) return;
  const { inputs: [, ...before], outputs: [, ...after], states } = signature;
  const paired = Array.isArray(states) && states.length > 0 && isEach(states, 'input', before) && isEach(states, 'output', after) &&
    states.every(({ input, output }) => kindOf(before, input) === kindOf(after, output));
  if (!paired) throw refuse('its states do not pair each input after the frame with one equal output');
  const [{ shape }] = signature.inputs;
  if (shape.length !== 3 || shape[1] !== 1) throw refuse('its first input is not one frame [batch, 1, features]');
}

/** Whether the model takes one frame and its state at a time. */
export const isStep = (signature) => signature.states !== undefined;

/** JSON with sorted keys, so that equal signatures are equal texts. */
export function canonical(value) {
  return JSON.stringify(value, (_, item) =>
    item && typeof item === 'object' && !Array.isArray(item)
      ? Object.fromEntries(Object.entries(item).sort(([a], [b]) => (a < b ? -1 : 1)))
      : item);
}

// Whether the pairs name every spec once.
const isEach = (states, side, specs) =>
  states.length === specs.length && specs.every(({ name }) => states.some((pair) => pair?.[side] === name));

function kindOf(specs, wanted) {
  const { dtype, shape } = specs.find(({ name }) => name === wanted);
  return canonical([dtype, shape]);
}

function isSpec(spec) {
  return typeof spec?.name === 'string' && spec.name && typeof spec.dtype === 'string' && Array.isArray(spec.shape) &&
    spec.shape.every((axis) => isSize(axis) || (typeof axis?.name === 'string' && isSize(axis.max) && [axis.min, axis.opt].every((size) => size === 0 || isSize(size))));
}

const isSize = (value) => Number.isSafeInteger(value) && value >= 1;
