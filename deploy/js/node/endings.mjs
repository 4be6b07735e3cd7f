// How a runner ends: the numbers of the command `temport` (exporter/command.py), and timeout(1)'s.

export const BAD_INPUT = 2, FAULT = 70, LOST_OUTPUT = 74, TIMED_OUT = 124, INTERRUPTED = 130;
export const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'];

/** An error that ends a runner with a code of its own. */
export class Ending extends Error {
  constructor(message, code) {
    super(message);
    this.code = code;
  }
}

/** Runs `main`, which gives the exit code; whatever goes wrong is one sentence on stderr and a code. */
export async function endWith(main) {
  try {
    process.exitCode = await main();
  } catch (error) {
    const isFault = error instanceof TypeError || error instanceof ReferenceError; // every other error is thrown on purpose
    const sentence = error.message.split('\n')[0];
    console.error(`error: ${isFault ? `the runner failed: ${sentence}` : sentence}`);
    process.exitCode = error instanceof Ending ? error.code : isFault ? FAULT : BAD_INPUT;
  }
}

/** To stdout, until it is out: console.log tells nobody that it is not. */
export async function print(text) {
  const out = process.stdout;
  try {
    await new Promise((resolve, reject) => {
      out.on('error', reject);
      out.write(`${text}\n`, (error) => (error ? reject(error) : resolve()));
    });
  } catch (error) {
    throw new Ending(`the output did not get out: ${error.code ?? error.message}`, LOST_OUTPUT);
  }
}
