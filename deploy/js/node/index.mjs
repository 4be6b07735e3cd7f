// What only node has: a bundle's files on disk, and its native engine.
import { expectedOf, readBundleFile } from './files.mjs';

export { loadEngine } from './engine.mjs';

/** Reads a bundle's files in `directory`, for `openBundle`. */
export const fromDirectory = (directory) => (name) => readBundleFile(directory, name);

/** The names of all files in `directory`, for an `openBundle` that refuses those which the manifest does not list. */
export const namesIn = async (directory) => (await expectedOf({ bundle: directory, strict: true })).names;
