// An opened bundle: its manifest and a way to read files that match it. Works wherever `read(name)` gives bytes.
import { readOnnxMetadata } from './onnx_metadata.mjs';
import { canonical, checkSignature } from './signature.mjs';

const FORMAT = 1, SEMANTICS = 1, MAX_MANIFEST = 4 << 20;

/**
 * Opens a bundle; the manifest and model.onnx are checked before anything is used, every other file when it is read.
 * @param {(name: string) => Promise<Uint8Array>} read reads one file of the bundle's directory
 */
export async function openBundle(read) {
  const manifest = checkManifest(await read('manifest.json'));
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
  if (signatureOf(model) !== canonical(manifest.signature))
    throw new Error("model.onnx is refused: its signature is not the manifest's");
  return { manifest, signature: manifest.signature, model, file };
}

async function sha256(bytes) {
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

// What the model file itself says, as canonical text; null where it says nothing.
function signatureOf(model) {
  try {
    return canonical(JSON.parse(readOnnxMetadata(model).get('temport.signature') ?? 'null'));
  } catch (error) {
    throw new Error(`model.onnx is refused: ${error.message}`);
  }
}

function checkManifest(text) {
  const refuse = (why) => new Error(`manifest.json is refused: ${why}`);
  if (text.length > MAX_MANIFEST) throw refuse('it is larger than any manifest');
  let manifest;
  try {
    manifest = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(text));
  } catch {
    throw refuse('it is not JSON');
  }
  if (manifest?.format !== FORMAT)
    throw refuse(`it has bundle format ${manifest?.format}; format ${FORMAT} is read here`);
  if (manifest.semantics !== SEMANTICS) throw refuse(`its operators are not of version ${SEMANTICS}`);
  for (const [name, entry] of Object.entries(manifest.files ?? {})) {
    if (!/^[^/\\\0]{1,255}$/.test(name) || name === '.' || name === '..')
      throw refuse(`it names the file ${name}, which is not a plain file name`);
    if (!/^[0-9a-f]{64}$/.test(entry?.sha256) || !Number.isSafeInteger(entry.bytes))
      throw refuse(`its entry of ${name} is malformed`);
  }
  if (!manifest.files || !manifest.declaration) throw refuse('it lists no files or declares no model');
  checkSignature(manifest.signature, refuse);
  return manifest;
}
