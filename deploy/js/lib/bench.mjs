// How long one inference takes: every one is counted, the slowest too.
import { framesOf } from './inference.mjs';
import { paced } from './pace.mjs';
import { toFeeds } from './session.mjs';
import { isStep, stepInputs } from './signature.mjs';
import { EndedStream, Stream } from './stream.mjs';
import { readVectors } from './vectors.mjs';

const WARM_UP = 20, LEAST = 50, BINS_PER_DECADE = 20;

/**
 * Latency on the first recorded case: of whole windows as recorded, or of a step model's frames in one stream of the
 * declared optimum that never resets but at its end, where it has one. Writing a frame is not part of it.
 * @param {{frames?: number, seconds?: number, onNonfinite?: string, progress?: (done: number) => unknown}} limits  stops at so many frames,
 *   or after so many seconds and 50 frames; `progress` is awaited now and then, between frames
 */
export async function bench(ort, session, bundle, { frames = 1000, seconds = Infinity, onNonfinite, progress } = {}) {
  const [{ input }] = await readVectors(bundle);
  const { next, run } = isStep(bundle.signature) ? frameByFrame(ort, session, bundle, input, onNonfinite) : wholeWindow(ort, session, bundle, input);
  for (let i = 0; i < WARM_UP; ++i) await run(next());
  const samples = new Float64Array(frames);
  const start = performance.now(), tell = paced(progress);
  let done = 0;
  while (done < frames && (done < LEAST || performance.now() - start < 1000 * seconds)) {
    const given = next();
    const before = performance.now();
    await run(given);
    samples[done++] = 1000 * (performance.now() - before);
    await tell(done);
  }
  return summarise(samples.subarray(0, done));
}

/** Quantiles of latencies in microseconds, in the order in which they were taken. */
export function summarise(samples) {
  const tenth = Math.max(1, Math.floor(samples.length / 10));
  const sorted = samples.slice().sort();
  const { p50, p90, p99, p99_9 } = Object.fromEntries(
    Object.entries({ p50: 0.5, p90: 0.9, p99: 0.99, p99_9: 0.999 }).map(([name, q]) => [name, quantile(sorted, q)]));
  return {
    unit: 'us', frames: samples.length, min: sorted[0], p50, p90, p99, p99_9, max: sorted.at(-1),
    p50_first_tenth: median(samples.subarray(0, tenth)), p50_last_tenth: median(samples.subarray(-tenth)),
    histogram: histogram(sorted),
  };
}

const quantile = (sorted, q) => sorted[Math.floor(q * (sorted.length - 1))];
const median = (samples) => quantile(samples.slice().sort(), 0.5);

// Equal steps of the logarithm, at the same edges in every run; from the bin of the fastest to that of the slowest.
function histogram(sorted) {
  const binOf = (value) => Math.floor(BINS_PER_DECADE * Math.log10(Math.max(value, 1e-3)));
  const first = binOf(sorted[0]), last = binOf(sorted.at(-1));
  const counts = new Array(last - first + 1).fill(0);
  for (const value of sorted) counts[binOf(value) - first]++;
  return { edges: Array.from({ length: counts.length + 1 }, (_, i) => 10 ** ((first + i) / BINS_PER_DECADE)), counts };
}

function wholeWindow(ort, session, bundle, input) {
  const feeds = toFeeds(ort, bundle, input);
  return { next: () => feeds, run: (given) => session.run(given) };
}

function frameByFrame(ort, session, bundle, input, onNonfinite) {
  const inputs = stepInputs(bundle.signature), [{ name: first, shape: [axis] }] = inputs, batch = axis.opt ?? axis;
  const { shape: [rows, length] } = input.get(first);
  const recorded = inputs.map((spec) => [spec.name, framesOf(spec, input.get(spec.name), rows, length)]);
  const stream = new Stream(ort, session, bundle, batch, { onNonfinite });
  let t = 0;
  const next = () => {
    const at = t++ % length;
    return Object.fromEntries(recorded.map(([name, values]) => {
      const width = values.length / (rows * length), frame = new values.constructor(batch * width);
      // every stream of the batch gets the first recorded one
      for (let b = 0; b < batch; ++b) frame.set(values.subarray(at * width, (at + 1) * width), b * width);
      return [name, frame];
    }));
  };
  const run = (frame) => stream.push(frame).catch((error) => {
    if (!(error instanceof EndedStream)) throw error;
    stream.reset();
    return stream.push(frame);
  });
  return { next, run };
}
