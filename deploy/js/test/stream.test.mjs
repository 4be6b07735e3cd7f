// The state of a stream, with a model that adds each frame to its state. Run with `node --test`.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { summarise } from '../lib/bench.mjs';
import { readState, writeState } from '../lib/state_bytes.mjs';
import { firstNonFinite } from '../lib/nonfinite.mjs';
import { infer } from '../lib/inference.mjs';
import { RefusedFrame, Stream } from '../lib/stream.mjs';

const BATCH = { name: 'batch', min: 1, opt: 2, max: 3 };
const SIGNATURE = {
  inputs: [{ name: 'frame', dtype: 'float32', shape: [BATCH, 1, 2] }, { name: 'state.sum', dtype: 'float32', shape: [BATCH, 2] }],
  outputs: [{ name: 'output', dtype: 'float32', shape: [BATCH, 2] }, { name: 'next_state.sum', dtype: 'float32', shape: [BATCH, 2] }],
  states: [{ input: 'state.sum', output: 'next_state.sum' }],
};

const BUNDLE = { signature: SIGNATURE, manifest: { files: { 'model.onnx': { sha256: '5a'.repeat(32) } } } };

class Tensor {
  constructor(type, data, dims) {
    Object.assign(this, { type, data, dims, disposed: false });
  }
  dispose() {
    this.disposed = true;
  }
  async getData() {
    return this.data;
  }
}

function adding() {
  const given = [], left = [];
  const run = async (feeds) => {
    given.push(feeds['state.sum']);
    if (feeds.frame.data.includes(13)) throw new Error('it fails');
    const sum = feeds['state.sum'].data.map((value, i) => value + feeds.frame.data[i]);
    left.push(new Tensor('float32', sum, [sum.length / 2, 2]));
    return { output: new Tensor('float32', sum.slice(), [sum.length / 2, 2]), 'next_state.sum': left.at(-1) };
  };
  return { given, left, session: { run } };
}

test('the state that a frame leaves is what the next one is given, and not a copy', async () => {
  const { given, left, session } = adding();
  const stream = new Stream({ Tensor }, session, BUNDLE, 2);
  const made = [];
  for (let t = 1; t <= 3; ++t) made.push(await stream.push(Float32Array.of(1, 2, 10, 20)));
  assert.deepEqual([...made[2].data], [3, 6, 30, 60]);
  assert.ok(given[1] === left[0] && given[2] === left[1]);
  assert.deepEqual(given.map(({ disposed }) => disposed), [true, true, true]);
  stream.reset();
  assert.deepEqual([...(await stream.push(Float32Array.of(1, 2, 10, 20))).data], [1, 2, 10, 20]);
});

test('each of several outputs has its name and its frames', async () => {
  const [output, next] = SIGNATURE.outputs;
  const signature = { ...SIGNATURE, outputs: [output, { ...output, name: 'double' }, next] };
  const twice = async (feeds) => {
    const made = await adding().session.run(feeds), { data, dims } = made.output;
    return { ...made, double: new Tensor('float32', data.map((value) => 2 * value), dims) };
  };
  const bundle = { ...BUNDLE, signature };
  const pushed = await new Stream({ Tensor }, { run: twice }, bundle).push(Float32Array.of(1, 2));
  assert.deepEqual(Object.entries(pushed).map(([name, { data }]) => [name, ...data]), [['output', 1, 2], ['double', 2, 4]]);
  const bytes = new Uint8Array(Float32Array.of(1, 2, NaN, 0, 3, 4).buffer);
  const { outputs } = await infer({ Tensor }, { run: twice }, bundle, new Map([['frame', { dtype: 'float32', shape: [1, 3, 2], bytes }]]), async () => {});
  assert.deepEqual(outputs.map(({ name, data }) => [name, ...data]), [['output', 1, 2, NaN, NaN, 4, 6], ['double', 2, 4, NaN, NaN, 8, 12]]);
});

// y = gain * (sum of the frames so far), with a gain [batch] that is static and an int64 [batch, 1] that is counted.
function scaled() {
  const [frame, state] = SIGNATURE.inputs;
  const inputs = [{ name: 'gain', dtype: 'float32', shape: [BATCH] }, state, frame, { name: 'step', dtype: 'int64', shape: [BATCH, 1] }];
  const run = async (feeds) => {
    const made = await adding().session.run(feeds), { data, dims } = made.output;
    const each = (_, i) => (data[i] * feeds.gain.data[Math.floor(i / 2)]) + Number(feeds.step.data[Math.floor(i / 2)]);
    return { ...made, output: new Tensor('float32', data.map(each), dims) };
  };
  return { bundle: { ...BUNDLE, signature: { ...SIGNATURE, inputs } }, session: { run } };
}

test('several inputs come by name, static ones too', async () => {
  const { bundle, session } = scaled(), stream = new Stream({ Tensor }, session, bundle, 2);
  const frame = { frame: Float32Array.of(1, 2, 10, 20), gain: Float32Array.of(1, 3), step: BigInt64Array.of(5n, 7n) };
  assert.deepEqual([...(await stream.push(frame)).data], [6, 7, 37, 67]);
  assert.deepEqual([...(await stream.push({ ...frame, gain: Float32Array.of(2, 1) })).data], [9, 13, 27, 47]);
  const before = await stream.save(1);
  for (const [wrong, why] of [
    [{ ...frame, gain: Float32Array.of(1, NaN) }, /gain holds NaN in row 1 of the batch/], [{ ...frame, gain: Float32Array.of(1) }, /gain is \[2\]; given were 1/],
    [{ frame: frame.frame, gain: frame.gain }, /a frame is gain, frame, step; given was frame, gain/], [frame.frame, /given was gain/],
    [{ ...frame, more: frame.gain }, /given was frame, gain, step, more/],
  ]) await assert.rejects(stream.push(wrong), why);
  assert.deepEqual(await stream.save(1), before);
});

test('recorded streams of several inputs are run frame by frame', async () => {
  const { bundle, session } = scaled();
  const array = (dtype, shape, values) => ({ dtype, shape, bytes: new Uint8Array(values.buffer) });
  const inputs = new Map([
    ['gain', array('float32', [1, 2], Float32Array.of(1, 2))], ['frame', array('float32', [1, 2, 2], Float32Array.of(1, 2, 3, 4))],
    ['step', array('int64', [1, 2], BigInt64Array.of(0n, 1n))],
  ]);
  const { outputs: [{ shape, data }] } = await infer({ Tensor }, session, bundle, inputs, async () => {});
  assert.deepEqual([shape, ...data], [[1, 2, 2], 1, 2, 9, 13]);
  inputs.set('gain', array('float32', [1, 3], Float32Array.of(1, 2, 3)));
  await assert.rejects(infer({ Tensor }, session, bundle, inputs, async () => {}), /takes frame as float32 \[batch, frames, 2\], not float32 \[1,2,2\]/);
});

test('a frame that fails leaves the state as it was', async () => {
  const stream = new Stream({ Tensor }, adding().session, BUNDLE);
  await stream.push(Float32Array.of(1, 2));
  await assert.rejects(stream.push(Float32Array.of(13, 0)), /it fails/);
  assert.deepEqual([...(await stream.push(Float32Array.of(1, 2))).data], [2, 4]);
});

test('a frame that is not finite is refused, and the stream is that of the others', async () => {
  const [stream, clean] = [0, 1].map(() => new Stream({ Tensor }, adding().session, BUNDLE, 2));
  for (let t = 0; t < 8; ++t) {
    const frame = Float32Array.of(t, 1, 2, 3), bad = frame.slice();
    assert.deepEqual((await stream.push(frame)).data, (await clean.push(frame)).data);
    const before = await stream.save(1);
    bad[t % 4] = t % 2 ? -Infinity : NaN;
    const what = t % 2 ? 'infinity' : 'NaN', row = Math.floor((t % 4) / 2);
    const message = `the frame is refused: frame holds ${what} in row ${row} of the batch; the state is as it was`;
    await assert.rejects(stream.push(bad), (error) => error instanceof RefusedFrame && error.message === message);
    assert.deepEqual(await stream.save(1), before);
  }
  assert.equal(await stream.poisoned(), false);
});

test('a frame that is passed poisons its own stream, until that is reset', async () => {
  const stream = new Stream({ Tensor }, adding().session, BUNDLE, 2, { onNonfinite: 'pass' });
  await stream.push(Float32Array.of(1, 2, 10, 20));
  assert.equal(await stream.poisoned(), false);
  await stream.push(Float32Array.of(1, 2, NaN, 20));
  assert.deepEqual([await stream.poisoned(), await stream.poisoned(0), await stream.poisoned(1)], [true, false, true]);
  await stream.resetEntry(1);
  assert.equal(await stream.poisoned(), false);
  assert.deepEqual([...(await stream.push(Float32Array.of(1, 2, 10, 20))).data], [3, 6, 10, 20]);
  assert.throws(() => new Stream({ Tensor }, adding().session, BUNDLE, 1, { onNonfinite: 'ignore' }), /refuse or pass/);
});

test('half floats that are not finite are found by their bits', () => {
  assert.equal(firstNonFinite('float16', Uint16Array.of(0x7bff, 1)), null);
  assert.deepEqual(firstNonFinite('float16', Uint16Array.of(0, 0xfc00)), { index: 1, what: 'infinity' });
  assert.deepEqual(firstNonFinite('float16', Uint16Array.of(0x7e00)), { index: 0, what: 'NaN' });
  assert.equal(firstNonFinite('int64', BigInt64Array.of(-1n)), null);
});

test('the outputs of refused frames are NaN, also where there is no other', async () => {
  const replayed = async (values) => {
    const frames = { dtype: 'float32', shape: [1, values.length / 2, 2], bytes: new Uint8Array(Float32Array.from(values).buffer) };
    const { outputs: [{ data }], stream } = await infer({ Tensor }, adding().session, BUNDLE, new Map([['frame', frames]]), async () => {});
    return [[...data], stream];
  };
  assert.deepEqual(await replayed([1, 2, NaN, 2, 1, 2]),
    [[1, 2, NaN, NaN, 2, 4], { frames: 3, refused: 1, refused_frames: [1], poisoned: false }]);
  assert.deepEqual(await replayed([NaN, 2]), [[NaN, NaN], { frames: 1, refused: 1, refused_frames: [0], poisoned: false }]);
});

test('what is refused', async () => {
  const stream = new Stream({ Tensor }, adding().session, BUNDLE);
  const first = stream.push(Float32Array.of(1, 2));
  assert.throws(() => stream.reset(), /still running/);
  await assert.rejects(stream.push(Float32Array.of(1, 2)), /still running/);
  await first;
  assert.throws(() => new Stream({ Tensor }, adding().session, BUNDLE, 4), /takes 1 to 3/);
  const windowed = [{ ...SIGNATURE.inputs[0], shape: [BATCH, { name: 'time', min: 1, opt: 2, max: 3 }, 2] }, SIGNATURE.inputs[1]];
  const other = { ...BUNDLE, signature: { ...SIGNATURE, inputs: windowed } };
  assert.throws(() => new Stream({ Tensor }, adding().session, other), /frame has an open axis beside the batch/);
  await assert.rejects(stream.push(Float32Array.of(1)), /frame is \[1,1,2\]; given were 1 elements/);
});

test('a saved state is where another stream goes on, one entry at a time', async () => {
  const stream = new Stream({ Tensor }, adding().session, BUNDLE, 2);
  await stream.push(Float32Array.of(1, 2, 10, 20));
  const state = await stream.save(1);
  assert.equal(state.length, 8 + 32 + 8 + 32);
  const other = new Stream({ Tensor }, adding().session, BUNDLE, 3);
  await other.push(new Float32Array(6).fill(7));
  await other.restore(state, 2);
  assert.deepEqual([...(await other.push(new Float32Array(6))).data], [7, 7, 7, 7, 10, 20]);
  await assert.rejects(stream.save(2), /no stream 2 among 2/);
});

test('bytes that are no state of this model are refused and change nothing', async () => {
  const stream = new Stream({ Tensor }, adding().session, BUNDLE);
  await stream.push(Float32Array.of(1, 2));
  const state = await stream.save();
  const changed = (at) => state.map((value, i) => (i === at ? value ^ 1 : value));
  for (const [bytes, why] of [
    [changed(0), /not the saved state/], [changed(8), /another model/], [changed(40), /damaged/], [changed(79), /damaged/],
    [state.subarray(0, 79), /79 bytes; this model's has 80/], [new Uint8Array(0), /not the saved state/],
  ]) await assert.rejects(stream.restore(bytes), why);
  assert.deepEqual([...(await stream.push(Float32Array.of(1, 2))).data], [2, 4]);
});

test('a bool that is none is refused', async () => {
  const identity = new Uint8Array(32), row = [{ dtype: 'bool', bytes: 2 }];
  assert.deepEqual(await readState(identity, await writeState(identity, [Uint8Array.of(0, 1)]), row), [Uint8Array.of(0, 1)]);
  const wrong = await writeState(identity, [Uint8Array.of(0, 2)]);
  await assert.rejects(readState(identity, wrong, row), /neither 0 nor 1/);
});

test('quantiles and histogram of latencies', () => {
  const samples = Float64Array.from({ length: 1000 }, (_, i) => 1001 - i);
  const latency = summarise(samples);
  assert.deepEqual([latency.min, latency.p50, latency.p99_9, latency.max], [2, 501, 1000, 1001]);
  assert.deepEqual([latency.p50_first_tenth, latency.p50_last_tenth], [951, 51]);
  const { edges, counts } = latency.histogram;
  counts.forEach((count, i) => assert.equal(count, samples.filter((value) => value >= edges[i] && value < edges[i + 1]).length));
  assert.equal(counts.reduce((sum, count) => sum + count), 1000);
});
