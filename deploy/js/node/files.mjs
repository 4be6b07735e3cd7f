// A bundle's files on disk.
import { lstat, readFile, readdir } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';

/**
 * Reads one file of a bundle, null where there is none of that name; a link is refused, as it leads to what the bundle does
 * not hold, and so is a name that is not plain, but for the folder of an engine.
 */
export async function readBundleFile(directory, name) {
  const path = join(directory, name);
  if (!/^(engine\/)?[^/\\]+$/.test(name) || /(^|\/)\.\.$/.test(name)) throw new Error(`${path} cannot be read (not a plain name)`);
  try {
    const folder = !name.includes('/') || (await lstat(dirname(path))).isDirectory();
    if (!folder || !(await lstat(path)).isFile()) throw Object.assign(new Error(), { code: 'not a plain file' });
    return new Uint8Array(await readFile(path));
  } catch (error) {
    if (error.code === 'ENOENT') return null;
    throw new Error(`${path} cannot be read (${error.code})`);
  }
}

/** What `openBundle` is to expect of the bundle, by the options of the command line. */
export async function expectedOf({ bundle, digest, strict }) {
  if (!strict) return { digest };
  const found = await readdir(bundle, { recursive: true, withFileTypes: true })
    .catch(({ code }) => { throw new Error(`${bundle} cannot be read (${code})`); });
  const files = found.filter((one) => !one.isDirectory());
  return { digest, names: files.map(({ parentPath, path, name }) => relative(bundle, join(parentPath ?? path, name))) };
}
