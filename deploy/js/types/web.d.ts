import type { Read } from './index.js';

/** Reads a bundle's files below a URL, for `openBundle`. */
export function fromUrl(base: string): Read;

/** The same from a directory that the user chose in an <input webkitdirectory>. */
export function fromDirectory(files: Iterable<File>): Read;
