// The readers of outside bytes: round trips, and what they refuse. Run with `node --test`.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compare } from '../lib/compare.mjs';
import { elements, readNpy, toDoubles, writeNpy } from '../lib/npy.mjs';
import { readNpz } from '../lib/npz.mjs';
import { readOnnxMetadata } from '../lib/onnx_metadata.mjs';
import { parseCsv } from '../web/frames.mjs';
import { Window } from '../web/live.mjs';

const text = (string) => new TextEncoder().encode(string);
const bytesOf = (values) => new Uint8Array(values.buffer);

function npy(header, data) {
  const bytes = text(header);
  return Uint8Array.from([0x93, ...text('NUMPY'), 1, 0, bytes.length & 255, bytes.length >> 8, ...bytes, ...data]);
}

function little(value, count) {
  return Array.from({ length: count }, (_, i) => Math.floor(value / 256 ** i) & 255);
}

function zip(members, change = () => {}) {
  const archive = [], central = [];
  for (const [name, content] of members) {
    const sizes = [...little(0, 4), ...little(content.length, 4), ...little(content.length, 4), ...little(name.length, 2), 0, 0];
    const entry = [...little(0x02014b50, 4), 20, 0, 20, 0, ...little(0, 8), ...sizes, ...little(0, 10), ...little(archive.length, 4)];
    central.push([...entry, ...text(name)]);
    archive.push(...little(0x04034b50, 4), 20, 0, ...little(0, 8), ...sizes, ...text(name), ...content);
  }
  change(central);
  const directory = central.flat();
  const end = [...little(0x06054b50, 4), 0, 0, 0, 0, ...little(members.length, 2), ...little(members.length, 2),
    ...little(directory.length, 4), ...little(archive.length, 4), 0, 0];
  return Uint8Array.from([...archive, ...directory, ...end]);
}

const ONE = writeNpy({ dtype: 'float32', shape: [2], bytes: bytesOf(Float32Array.of(1, 2)) });

test('npy round trip', () => {
  for (const shape of [[], [6], [2, 3], [0, 4]]) {
    const values = new Float64Array(shape.reduce((product, size) => product * size, 1)).fill(1.5);
    const file = writeNpy({ dtype: 'float64', shape, bytes: bytesOf(values) });
    const back = readNpy(file);
    assert.deepEqual([back.dtype, back.shape, elements(back)], ['float64', shape, values]);
    assert.equal((file.length - values.byteLength) % 64, 0);
  }
});

test('npy files that are refused', () => {
  const six = new Uint8Array(24), rest = "'fortran_order': False, 'shape': (2, 3), }";
  assert.ok(readNpy(npy(`{'descr': '<f4', ${rest}`, six)));
  for (const file of [
    new Uint8Array(0), text('not an array at all'), npy(`{'descr': '<f4', ${rest}`, six.subarray(1)),
    npy(`{'descr': '>f4', ${rest}`, six), npy(`{'descr': '|O', ${rest}`, six), npy(`{'descr': '<f4', ${rest}; x`, six),
    npy("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }", six),
    npy("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999, 99999999999), }", six),
    npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,6), }", six),
    npy(`{'descr': '<f4', ${rest}`, six).subarray(0, 40),
    npy(`{'descr': '<f4', 'fortran_order': False, 'shape': (${'1'.repeat(3000)}; }`, six), // a slow pattern would never end
  ]) assert.throws(() => readNpy(file));
});

test('npz archives that are refused', () => {
  assert.deepEqual([...readNpz(zip([['a.npy', ONE]])).keys()], ['a']);
  const good = zip([['a.npy', ONE]]);
  for (let cut = 1; cut < good.length; cut += 5) assert.throws(() => readNpz(good.subarray(0, good.length - cut)));
  assert.throws(() => readNpz(zip([['a.npy', ONE], ['a.npy', ONE]])), /twice/);
  assert.throws(() => readNpz(zip([['a.txt', ONE]])), /not a .npy array/);
  const patched = (at, value) => zip([['a.npy', ONE], ['b.npy', ONE]], (central) => (central[1][at] = value));
  assert.throws(() => readNpz(patched(10, 8)), /compressed/);
  assert.throws(() => readNpz(patched(44, 1)), /no local header/);
  const both = zip([['a.npy', ONE], ['b.npy', ONE]], (central) => central[1].fill(0, 42, 46));
  assert.throws(() => readNpz(both), /overlap/);
});

test('metadata of an ONNX file', () => {
  const field = (number, payload) => [number * 8 + 2, payload.length, ...payload];
  const model = Uint8Array.from(field(14, [...field(1, text('key')), ...field(2, text('value'))]));
  assert.equal(readOnnxMetadata(model).get('key'), 'value');
  assert.throws(() => readOnnxMetadata(model.subarray(0, 9)), /not an ONNX model/);
  assert.throws(() => readOnnxMetadata(Uint8Array.of(15)), /not an ONNX model/);
  assert.throws(() => readOnnxMetadata(new Uint8Array(11).fill(128)), /not an ONNX model/);
});

test('verdicts of a comparison', () => {
  const verdict = (values, ...bound) => compare(Float64Array.from(values), Float64Array.of(1, -2, 0), bound, 'float32').verdict;
  assert.equal(verdict([1, -2, 0.25], 0.25), 'pass');
  assert.equal(verdict([1, -2, 0.25], 0.2), 'fail');
  assert.equal(verdict([1, -2, NaN], NaN), 'fail');
  assert.equal(verdict([1, -2, 9], NaN), 'ill-conditioned');
  assert.equal(verdict([1, -2], 1), 'fail');
  assert.equal(verdict([1.2, -1.8, 0.2], 0.25, 0, 2, 1, 0.16), 'pass'); // sqrt(0.04 / (5 / 3)) = 0.155
  assert.equal(verdict([1.2, -1.8, 0.2], 0.25, 0, 2, 1, 0.15), 'fail');
});

test('where torch itself overflows in a half type nobody is judged, and a wrong number still fails', () => {
  const row = (bound, dtype) => compare(Float64Array.of(1, NaN), Float64Array.of(1, -2), bound, dtype);
  for (const dtype of ['float16', 'bfloat16']) {
    assert.equal(row([NaN, NaN, 2, NaN], dtype).reason, `the source itself gives NaN or infinity in ${dtype}`);
    assert.equal(row([NaN, NaN, 2, NaN], dtype).verdict, 'ill-conditioned');
    assert.equal(row([0.1, 0.05, 2, NaN], dtype).verdict, 'fail');
  }
  assert.equal(row([NaN, NaN, 2, NaN], 'float32').verdict, 'fail');
});

test('half floats widen exactly', () => {
  assert.deepEqual([...toDoubles('float16', Uint16Array.of(0x3c00, 0xc000, 1, 0x7c00))], [1, -2, 2 ** -24, Infinity]);
});

test('frames of a stream', () => {
  assert.deepEqual(parseCsv('x,y\n1,2\n3,4\n', 2), [[1, 2], [3, 4]]);
  assert.throws(() => parseCsv('1,2\n3\n', 2), /row 2 of the CSV/);
  assert.throws(() => parseCsv('x,y\n', 2), /no rows/);
  const window = new Window(3, 2);
  window.push([1, 2]);
  assert.deepEqual([...window.values], [1, 2, 1, 2, 1, 2]);
  window.push([3, 4]);
  assert.deepEqual([...window.values], [1, 2, 1, 2, 3, 4]);
});
