// A bundle's files on disk.
import { lstat, readFile } from 'node:fs/promises';
import { join } from 'node:path';

/** Reads one file of a bundle; a link is refused, as it leads to what the bundle does not hold. */
export async function readBundleFile(directory, name) {
  const path = join(directory, name);
  try {
    if (!(await lstat(path)).isFile()) throw Object.assign(new Error(), { code: 'not a plain file' });
    return new Uint8Array(await readFile(path));
  } catch (error) {
    throw new Error(`${path} cannot be read (${error.code})`);
  }
}
