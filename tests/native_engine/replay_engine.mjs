// `node replay_engine.mjs BUNDLE ENGINE.wasm`: every recorded stream of a bundle through an engine, two at once and in turns;
// prints the verdict of each against its bounds. Ends with an error where anything else is not as it has to be.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { argv } from 'node:process';
import { openBundle } from '../../deploy/js/lib/bundle.mjs';
import { compare } from '../../deploy/js/lib/compare.mjs';
import { Engine, RefusedInput } from '../../deploy/js/lib/engine.mjs';
import { elements } from '../../deploy/js/lib/npy.mjs';
import { readVectors } from '../../deploy/js/lib/vectors.mjs';
import { readBundleFile } from '../../deploy/js/node/files.mjs';

const bundle = await openBundle((name) => readBundleFile(argv[2], name));
const engine = await Engine.load(await readFile(argv[3]));
assert.equal(engine.model, bundle.manifest.files['model.onnx'].sha256);
const cases = (await readVectors(bundle)).filter(({ input }) => input.get('frame').shape[0] === 1);
const first = engine.instance(), second = engine.instance();

const verdicts = {};
for (const { name, input, output, bound } of cases) {
  const [, frames, features] = input.get('frame').shape, values = elements(input.get('frame'));
  const made = [];
  first.reset();
  second.reset();
  for (let t = 0; t < frames; ++t) {
    const frame = values.subarray(t * features, (t + 1) * features);
    const given = first.run({ frame });
    assert.deepEqual(second.run({ frame }), given);
    if (t === 4) second.run({ frame: frame.map((x) => -x) }); // goes astray, and comes back:
    if (t === 4) second.restore(first.save());
    made.push(...given.output);
  }
  const oracle = elements(output.get('output'));
  verdicts[name] = compare(Float64Array.from(made), oracle, elements(bound.get('output')), 'float32').verdict;
}

const [{ most }] = engine.inputs, frame = new Float32Array(most).fill(0.5);
second.restore(first.save());
for (const bad of [NaN, Infinity]) assert.throws(() => second.run({ frame: frame.with(1, bad) }), RefusedInput);
assert.deepEqual(second.run({ frame }), first.run({ frame }));
assert.ok(second.run({ frame: frame.with(1, NaN) }, { passNonfinite: true }).output.some(Number.isNaN));
assert.throws(() => first.run({}), /frame has \d+ elements, not none/);
assert.throws(() => first.run({ frame }, { sizes: { seq: 3 } }), /has no axis seq/);
console.log(JSON.stringify(verdicts));
