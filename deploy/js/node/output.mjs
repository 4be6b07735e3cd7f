// Files that a runner writes: whole or not at all.
import { randomBytes } from 'node:crypto';
import { constants, unlinkSync } from 'node:fs';
import { lstat, open, rename, stat, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Ending, INTERRUPTED, LOST_OUTPUT, SIGNALS } from './endings.mjs';

const { O_CREAT, O_EXCL, O_NOFOLLOW, O_WRONLY, O_RDONLY, O_DIRECTORY } = constants;

/**
 * The file takes its place when it is whole and on the disk; what stood there stays until then, and its mode afterwards.
 * It is written beside it under a name that nobody can guess or plant. A device or a FIFO is written as it stands; a
 * link to a file is refused.
 */
export async function writeOutput(path, bytes) {
  const named = await lstat(path).catch(() => null);
  if (named?.isSymbolicLink() && ((await stat(path).catch(() => null))?.isFile() ?? true))
    throw new Error(`${path} is a symbolic link; name the file itself`);
  if (!named || named.isFile()) return replace(path, bytes, named);
  return written(path, await opened(path, path, O_WRONLY), bytes); // such as /dev/stdout
}

async function replace(path, bytes, old) {
  const work = join(dirname(path), `.temport-${randomBytes(8).toString('hex')}.part`);
  const file = await opened(path, work, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, old ? 0o600 : 0o666);
  const interrupted = (signal) => {
    unlinkSync(work);
    if (!process.listenerCount(signal)) process.exit(INTERRUPTED); // else who listens has more to clear away
  };
  for (const signal of SIGNALS) process.once(signal, interrupted);
  try {
    await written(path, file, bytes, async () => {
      if (old) await file.chmod(old.mode & 0o7777);
      await file.sync();
    });
    await rename(work, path).catch((error) => lose(path, error));
    await syncDirectory(dirname(path));
  } catch (error) {
    await unlink(work).catch(() => {});
    throw error;
  } finally {
    for (const signal of SIGNALS) process.off(signal, interrupted);
  }
}

async function opened(path, file, flags, mode) {
  try {
    return await open(file, flags, mode);
  } catch ({ code }) {
    throw new Error(`${path} cannot be written (${code})`);
  }
}

async function written(path, file, bytes, finish = () => {}) {
  try {
    await file.writeFile(bytes);
    await finish();
    await file.close();
  } catch (error) {
    await file.close().catch(() => {});
    lose(path, error);
  }
}

function lose(path, { code }) {
  throw new Ending(`${path} could not be written completely (${code})`, LOST_OUTPUT);
}

// Some file systems cannot, and the file itself is safe.
async function syncDirectory(path) {
  const directory = await open(path, O_RDONLY | O_DIRECTORY).catch(() => null);
  await directory?.sync().catch(() => {});
  await directory?.close();
}
