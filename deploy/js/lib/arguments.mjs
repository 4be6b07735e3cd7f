// The command line of temport-run, shared by the runners here.

export const USAGE = `usage: temport-run BUNDLE [--replay] [--bench [--frames N]] [--threads N]
                   [--digest SHA256] [--strict]
                   [--input [NAME=]x.npy ... --output [NAME=]y.npy ... [--restore STATE] [--save STATE]]
                   [--on-nonfinite refuse|pass] [--timeout SECONDS] [--runtime onnxruntime|native]
--digest refuses every bundle but the one whose manifest.sha256 says it; --strict refuses files that no manifest lists.
--on-nonfinite says what a stream does with a frame that holds NaN or infinity: refuse (the default) leaves its state
as it was and writes NaN as its output, pass computes it.
--runtime native runs the bundle's own engine: native code in node, and one in WebAssembly in browsers too.
Prints one JSON object on stdout. Exit code 0: done and every judged case passed; 1: a case failed or more than half
could not be judged. Else one sentence on stderr, and 2: bad input, a refused bundle or a missing runtime; 70: a fault
of the runner; 74: output that did not get out; 124: --timeout; 130: interrupted.`;

const MAX_FRAMES = 1e7, MAX_SECONDS = 1e6;

export function parseArguments(words) {
  const parsed = {
    bundle: null, replay: false, bench: false, help: false, strict: false, digest: null,
    frames: null, threads: 1, inputs: [], outputs: [], restore: null, save: null, onNonfinite: 'refuse', timeout: null,
    runtime: 'onnxruntime',
  };
  for (let i = 0; i < words.length; ++i) {
    const word = words[i];
    if (word === '-h') parsed.help = true;
    else if (word === '--replay' || word === '--bench' || word === '--help' || word === '--strict') parsed[word.slice(2)] = true;
    else if (word === '--threads' || word === '--frames' || word === '--timeout') parsed[word.slice(2)] = Number(words[++i]);
    else if (word === '--runtime') parsed.runtime = words[++i];
    else if (word === '--on-nonfinite') parsed.onNonfinite = words[++i];
    else if (word === '--restore' || word === '--save' || word === '--digest') {
      parsed[word.slice(2)] = words[++i];
      if (!words[i]) throw new Error(`${word} needs a ${word === '--digest' ? 'digest, such as manifest.sha256 holds' : 'file'}`);
    } else if (word === '--input' || word === '--output') {
      const [, name = '', file] = /^(?:([^=]+)=)?(.+)$/.exec(words[++i] ?? '') ?? [];
      if (!file) throw new Error(`${word} needs a file`);
      parsed[`${word.slice(2)}s`].push({ name, file });
    } else if (word.startsWith('--')) throw new Error(`there is no option ${word}; see --help`);
    else if (parsed.bundle) throw new Error(`one bundle is run at a time, not ${parsed.bundle} and ${word}`);
    else parsed.bundle = word;
  }
  if (parsed.help) return parsed;
  if (!parsed.bundle) throw new Error('name the bundle to run; see --help');
  if (!isCount(parsed.threads, 1024)) throw new Error('--threads takes a number from 1 to 1024');
  if (parsed.frames !== null && !parsed.bench) throw new Error('--frames says how long --bench runs; give both');
  if (parsed.frames !== null && !isCount(parsed.frames, MAX_FRAMES))
    throw new Error(`--frames takes a number from 1 to ${MAX_FRAMES}`);
  if (parsed.onNonfinite !== 'refuse' && parsed.onNonfinite !== 'pass') throw new Error('--on-nonfinite takes refuse or pass');
  if (parsed.runtime !== 'onnxruntime' && parsed.runtime !== 'native') throw new Error('--runtime takes onnxruntime or native');
  if (parsed.runtime === 'native' && parsed.threads !== 1) throw new Error('a native engine computes on one thread');
  if (parsed.timeout !== null && !(parsed.timeout > 0 && parsed.timeout <= MAX_SECONDS))
    throw new Error(`--timeout takes a number of seconds up to ${MAX_SECONDS}`);
  if (!parsed.inputs.length !== !parsed.outputs.length) throw new Error('--input and --output go together');
  if ((parsed.restore || parsed.save) && !parsed.inputs.length)
    throw new Error('--restore and --save hold the state of the stream that --input feeds; give both');
  return parsed;
}

const isCount = (value, max) => Number.isInteger(value) && value >= 1 && value <= max;

/** The file given for a tensor, or null; a file without a name belongs to the only tensor of its side. */
export function fileOf(files, name, tensors) {
  return files.find((one) => one.name === name || (!one.name && tensors === 1))?.file ?? null;
}
