// An opened bundle: its manifest and a way to read files that match it. Works wherever `read(name)` gives bytes.
import { checkExternalData } from './external_data.mjs';
import manifestSchema from './manifest_schema.mjs';
import { readOnnxMetadata } from './onnx_metadata.mjs';
import { violation } from './schema.mjs';
import { canonical, checkSignature, checkStream } from './signature.mjs';
import { parseStrictly } from './strict_json.mjs';

const MANIFEST = 'manifest.json', DIGEST = 'manifest.sha256', MODEL = 'model.onnx', MAX_MANIFEST = 4 << 20;

/** External data lie beside the model, in files that begin with its name and a dot. */
export const isWeights = (name) => name.startsWith(`${MODEL}.`);

/**
 * Opens a bundle; the manifest and model.onnx are checked before anything is used, every other file when it is read.
 * @param {(name: string) => Promise<Uint8Array | null>} read reads one file of the bundle's directory; null: not there
 * @param {{digest?: string | null, names?: string[] | null}} expected the digest of the bundle that is wanted, and the names
 *   of all files in the directory, where those that the manifest does not list are to be refused
 */
export async function openBundle(read, { digest: wanted = null, names = null } = {}) {
  const content = await there(read, MANIFEST);
  const digest = await sha256(content);
  const beside = await read(DIGEST); // bundles of before 0.2 have none
  if (beside && new TextDecoder().decode(beside) !== `${digest}  ${MANIFEST}\n`) throw new Error(`${MANIFEST} differs from its ${DIGEST}`);
  if (wanted !== null && wanted !== digest) throw new Error(`this is another bundle: its digest is ${digest}, expected was ${wanted}`);
  const manifest = refusing(MANIFEST, () => readManifest(content));
  const listed = (name) => Object.hasOwn(manifest.files, name);
  const file = async (name) => {
    if (!listed(name)) throw new Error(`the bundle has no ${name} in its manifest`);
    const entry = manifest.files[name], bytes = await there(read, name);
    if (bytes.length !== entry.bytes)
      throw new Error(`${name} has ${bytes.length} bytes where the manifest says ${entry.bytes}`);
    if ((await sha256(bytes)) !== entry.sha256)
      throw new Error(`${name} differs from its manifest: its SHA-256 is another one`);
    return bytes;
  };
  const model = await file(MODEL);
  refusing(MODEL, () => {
    const own = readOnnxMetadata(model).get('temport.signature');
    if (own === undefined || canonical(parseStrictly(own)) !== canonical(manifest.signature))
      throw new Error("its signature is not the manifest's");
    checkExternalData(model, (name) => isWeights(name) && listed(name));
  });
  const stray = names?.find((name) => name !== MANIFEST && name !== DIGEST && !listed(name));
  if (stray !== undefined) throw new Error(`${stray} is not listed in the manifest`);
  return { manifest, digest, signature: manifest.signature, model, file };
}

/** The manifest that these bytes spell; throws with what is wrong with it. */
export function readManifest(content) {
  if (content.length > MAX_MANIFEST) throw new Error('it is larger than any manifest');
  const manifest = parseStrictly(content);
  const wrong = violation(manifestSchema, manifest);
  if (wrong) throw new Error(wrong);
  checkSignature(manifest.signature);
  if (manifest.stream) checkStream(manifest.stream, manifest.signature);
  return manifest;
}

function refusing(name, work) {
  try {
    return work();
  } catch (error) {
    throw new Error(`${name} is refused: ${error.message}`);
  }
}

async function there(read, name) {
  const bytes = await read(name);
  if (!bytes) throw new Error(`there is no ${name}; name a directory that temport export wrote`);
  return bytes;
}

/** In hexadecimal. */
export async function sha256(bytes) {
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
