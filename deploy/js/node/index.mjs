// What only node has: a bundle's files on disk, and its native engine.
import { loadNative } from '../lib/native.mjs';
import { loadEngine as ofThisProcessor } from './engine.mjs';
import { expectedOf, readBundleFile } from './files.mjs';

/** The bundle's native engine in the place of ONNX Runtime: {ort, version, path}, `ort` for `createSession` and `Stream`. */
export const loadEngine = (bundle) => loadNative(bundle, ofThisProcessor);

/** Reads a bundle's files in `directory`, for `openBundle`. */
export const fromDirectory = (directory) => (name) => readBundleFile(directory, name);

/** The names of all files in `directory`, for an `openBundle` that refuses those which the manifest does not list. */
export const namesIn = async (directory) => (await expectedOf({ bundle: directory, strict: true })).names;
