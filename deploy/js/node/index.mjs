// What only node has: a bundle's files on disk, and its native engine.
import { loadNative as load } from '../lib/native.mjs';
import { loadEngine } from './engine.mjs';
import { expectedOf, readBundleFile } from './files.mjs';

/** The bundle's native engine in the form of ONNX Runtime; its `ort` goes where that of onnxruntime-node does. */
export const loadNative = (bundle) => load(bundle, loadEngine);

/** Reads a bundle's files in `directory`, for `openBundle`. */
export const fromDirectory = (directory) => (name) => readBundleFile(directory, name);

/** The names of all files in `directory`, for an `openBundle` that refuses those which the manifest does not list. */
export const namesIn = async (directory) => (await expectedOf({ bundle: directory, strict: true })).names;
