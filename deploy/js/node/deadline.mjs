// A deadline for a whole program. The runtime computes in node's main thread, where no timer fires meanwhile: so a child
// does the work, and this process watches it.
import { spawn } from 'node:child_process';
import { Ending, INTERRUPTED, TIMED_OUT } from './endings.mjs';

const GRACE_MS = 1000;

/** The exit code of `program` run with `words` without their --timeout; throws where it does not end in time. */
export function underDeadline(seconds, program, words) {
  const rest = words.filter((word, i) => word !== '--timeout' && words[i - 1] !== '--timeout');
  const child = spawn(process.execPath, [program, ...rest], { stdio: 'inherit' });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
  return new Promise((resolve, reject) => {
    let late = false;
    const deadline = setTimeout(() => {
      late = true;
      child.kill('SIGTERM'); // a half-written file is removed
      setTimeout(() => child.kill('SIGKILL'), GRACE_MS).unref();
    }, 1000 * seconds);
    child.on('error', reject);
    child.on('close', (code) => {
      clearTimeout(deadline);
      if (late) reject(new Ending(`temport-run did not end within ${seconds} seconds`, TIMED_OUT));
      else resolve(code ?? INTERRUPTED);
    });
  });
}
