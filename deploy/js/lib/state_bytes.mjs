// The saved state of one stream, byte for byte that of the C++ library (deploy/cpp/src/state_bytes.h):
//
//   offset 0   "TMPSTAT1"
//          8   identity of the model (`identityOf`)
//         40   the stream's row of every state tensor, in the order of the signature, little-endian, nothing between
//       -32    SHA-256 of everything before it
//
// The digest shows that nothing was damaged, not who wrote it.

const MAGIC = new TextEncoder().encode('TMPSTAT1');
const DIGEST = 32, HEADER = MAGIC.length + DIGEST;

/** SHA-256 over the manifest's hashes, as text, of model.onnx and of the weights beside it, in the order of their names. */
export async function identityOf({ files }) {
  const hashes = Object.keys(files).filter((name) => name.startsWith('model.onnx')).sort().map((name) => files[name].sha256);
  return sha256(new TextEncoder().encode(hashes.join('')));
}

/** @param {Uint8Array[]} rows of every state tensor */
export async function writeState(identity, rows) {
  const body = join([MAGIC, identity, ...rows]);
  return join([body, await sha256(body)]);
}

/**
 * The rows, copied. Refused: another length, another model, damaged bytes, a bool that is neither 0 nor 1.
 * @param {{dtype: string, bytes: number}[]} specs of every row
 */
export async function readState(identity, state, specs) {
  const refuse = (why) => new Error(`the state is refused: ${why}`);
  if (!equal(state.subarray(0, MAGIC.length), MAGIC)) throw refuse('it is not the saved state of a stream');
  if (!equal(state.subarray(MAGIC.length, HEADER), identity)) throw refuse('it was saved with another model');
  const size = specs.reduce((sum, { bytes }) => sum + bytes, HEADER + DIGEST);
  if (state.length !== size) throw refuse(`it has ${state.length} bytes; this model's has ${size}`);
  const end = size - DIGEST;
  if (!equal(state.subarray(end), await sha256(state.subarray(0, end))))
    throw refuse('it is damaged, its SHA-256 is another one');
  let next = HEADER;
  return specs.map(({ dtype, bytes }) => {
    const row = state.slice(next, (next += bytes));
    if (dtype === 'bool' && row.some((value) => value > 1)) throw refuse('it holds a bool that is neither 0 nor 1');
    return row;
  });
}

const sha256 = async (bytes) => new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));

const equal = (a, b) => a.length === b.length && a.every((value, i) => value === b[i]);

function join(parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let next = 0;
  for (const part of parts) whole.set(part, next), (next += part.length);
  return whole;
}
