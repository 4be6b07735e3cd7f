// An opened bundle: its manifest and a way to read files that match it. Works wherever `read(name)` gives bytes.
import { readNpz } from './npz.mjs';
import { readOnnxMetadata } from './onnx_metadata.mjs';

const FORMAT = 1, SEMANTICS = 1, MAX_MANIFEST = 4 << 20;

/**
 * Opens a bundle; the manifest, model.onnx and vectors.npz are checked before anything is used.
 * @param {(name: string) => Promise<Uint8Array>} read reads one file of the bundle's directory
 */
export async function openBundle(read) {
  const text = await read('manifest.json');
  if (text.length > MAX_MANIFEST) throw new Error('manifest.json is refused: it is larger than any manifest');
  const manifest = checkManifest(text);
  const file = async (name) => {
    const entry = Object.hasOwn(manifest.files, name) ? manifest.files[name] : null;
    if (!entry) throw new Error(`the bundle has no ${name} in its manifest`);
    const bytes = await read(name);
    if (bytes.length !== entry.bytes)
      throw new Error(`${name} has ${bytes.length} bytes where the manifest says ${entry.bytes}`);
    if ((await sha256(bytes)) !== entry.sha256)
      throw new Error(`${name} differs from its manifest: its SHA-256 is another one`);
    return bytes;
  };
  const model = await file('model.onnx');
  const own = readOnnxMetadata(model).get('temport.signature');
  if (!own || canonical(JSON.parse(own)) !== canonical(manifest.signature))
    throw new Error("model.onnx is refused: its signature is not the manifest's");
  return { manifest, signature: manifest.signature, model, file };
}

/** The recorded cases: [{name, inputs, outputs, bounds}], each a Map from tensor name to array. */
export async function readVectors(bundle) {
  const arrays = readNpz(await bundle.file('vectors.npz'));
  const cases = new Map();
  for (const [path, array] of arrays) {
    const [name, kind, tensor] = path.split('/');
    if (!cases.has(name)) cases.set(name, { name, input: new Map(), output: new Map(), bound: new Map() });
    const own = cases.get(name)[kind];
    if (!(own instanceof Map)) throw new Error(`vectors.npz is refused: ${path} belongs to no case`);
    own.set(tensor, array);
  }
  for (const one of cases.values()) {
    const complete = bundle.signature.inputs.every(({ name, dtype }) => one.input.get(name)?.dtype === dtype) &&
      bundle.signature.outputs.every(({ name }) => one.output.get(name)?.dtype === 'float64' && one.bound.has(name));
    if (!complete) throw new Error(`vectors.npz is refused: case ${one.name} is not what the signature says`);
  }
  return [...cases.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
}

export async function sha256(bytes) {
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

function checkManifest(text) {
  const refuse = (why) => new Error(`manifest.json is refused: ${why}`);
  let manifest;
  try {
    manifest = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(text));
  } catch {
    throw refuse('it is not JSON');
  }
  if (manifest?.format !== FORMAT)
    throw refuse(`it has bundle format ${manifest?.format}; this page reads format ${FORMAT}`);
  if (manifest.semantics !== SEMANTICS) throw refuse(`its operators are not of version ${SEMANTICS}`);
  for (const [name, entry] of Object.entries(manifest.files ?? {})) {
    if (!/^[^/\\\0]{1,255}$/.test(name) || name === '.' || name === '..')
      throw refuse(`it names the file ${name}, which is not a plain file name`);
    if (!/^[0-9a-f]{64}$/.test(entry?.sha256) || !Number.isSafeInteger(entry.bytes))
      throw refuse(`its entry of ${name} is malformed`);
  }
  for (const side of ['inputs', 'outputs'])
    if (!Array.isArray(manifest.signature?.[side]) || !manifest.signature[side].length)
      throw refuse(`its signature has no ${side}`);
  return manifest;
}

// JSON with sorted keys, so that equal signatures are equal texts.
function canonical(value) {
  return JSON.stringify(value, (_, item) =>
    item && typeof item === 'object' && !Array.isArray(item)
      ? Object.fromEntries(Object.entries(item).sort(([a], [b]) => (a < b ? -1 : 1)))
      : item);
}
