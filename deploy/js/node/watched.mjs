// A program that ends when it is told to. The runtime computes in node's main thread, where no timer fires and no signal is
// heard meanwhile: so a child does the work, and this process watches it.
import { spawn } from 'node:child_process';
import { Worker } from 'node:worker_threads';
import { Ending, FAULT, INTERRUPTED, SIGNALS, TIMED_OUT } from './endings.mjs';

const GRACE_MS = 1000;

/**
 * The exit code of `program` run with this process's number and `words`; throws where it does not end in `seconds` (null: any time will do), where a
 * signal ended it, and where it crashed.
 */
export function watched(program, words, seconds = null) {
  const child = spawn(process.execPath, [program, String(process.pid), ...words], { stdio: 'inherit' });
  return new Promise((resolve, reject) => {
    let why = null;
    const stop = (ending) => {
      why ??= ending;
      child.kill('SIGTERM'); // a half-written file is removed
      setTimeout(() => child.kill('SIGKILL'), GRACE_MS).unref();
    };
    for (const signal of SIGNALS) process.on(signal, () => stop(new Ending('interrupted', INTERRUPTED)));
    const late = () => stop(new Ending(`temport-run did not end within ${seconds} seconds`, TIMED_OUT));
    const deadline = seconds && setTimeout(late, 1000 * seconds);
    child.on('error', reject);
    child.on('close', (code, signal) => {
      clearTimeout(deadline);
      if (why) reject(why);
      else if (SIGNALS.includes(signal)) reject(new Ending('interrupted', INTERRUPTED));
      else if (code === null) reject(new Ending(`the runner was ended by ${signal}`, FAULT));
      else resolve(code);
    });
  });
}

/** In the child: it never outlives the process `parent` that started it, whatever it computes and however that one ends. */
export function endWithParent(parent) {
  const watch = `setInterval(() => { if (process.ppid !== ${parent}) process.kill(process.pid, 'SIGKILL'); }, 500);`;
  new Worker(watch, { eval: true }).unref();
}
