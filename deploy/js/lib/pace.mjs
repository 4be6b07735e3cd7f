// Long loops tell how far they are, which also lets a browser's page breathe.

const EVERY_MS = 100;

/** `progress(done)` as something to await in every turn of a loop: it is called, and awaited, ten times a second. */
export function paced(progress = () => {}) {
  let told = performance.now();
  return async (done) => {
    if (performance.now() - told < EVERY_MS) return;
    await progress(done);
    told = performance.now();
  };
}
