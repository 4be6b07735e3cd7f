// Two streams on one session of a native engine, frame about: each is what it is alone, and its saved state too.
import { strict as assert } from 'node:assert';
import { Stream, createSession, openBundle } from '../../deploy/js/lib/index.mjs';
import { fromDirectory, loadEngine } from '../../deploy/js/node/index.mjs';

const bundle = await openBundle(fromDirectory(process.argv[2]));
const { ort } = await loadEngine(bundle);
const width = bundle.signature.inputs[0].shape[2], batches = [2, 1], FRAMES = 30;
const frame = (s, t) => Float32Array.from({ length: batches[s] * width }, (_, i) => Math.sin(i + 7 * t + 31 * s));

async function run(turns) {
  const session = await createSession(ort, bundle, 'cpu');
  const streams = batches.map((batch) => new Stream(ort, session, bundle, batch));
  const outputs = [[], []];
  for (const [s, t] of turns) outputs[s].push(Array.from((await streams[s].push(frame(s, t))).data));
  const states = [];
  for (const stream of streams) states.push(Buffer.from(await stream.save(0)).toString('hex'));
  await streams[0].restore(Buffer.from(states[1], 'hex'), 1);
  states.push(Buffer.from(await streams[0].save(1)).toString('hex'));
  return { outputs, states };
}

const frames = Array.from({ length: FRAMES }, (_, t) => t);
const alone = await run([0, 1].flatMap((s) => frames.map((t) => [s, t])));
assert.deepEqual(await run(frames.flatMap((t) => [[0, t], [1, t]])), alone);
assert.equal(alone.states[2], alone.states[1]);
assert.notEqual(alone.states[0], alone.states[1]);
assert.throws(() => new ort.Tensor('float32', new Float32Array(3), [1, 4]), /3 elements are no float32 \[1,4\]/);
