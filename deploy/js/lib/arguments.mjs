// The command line of temport-run, shared by the runners here.

export const USAGE = `usage: temport-run BUNDLE [--replay] [--bench] [--input [NAME=]x.npy ... --output [NAME=]y.npy ...]
                   [--threads N]
Prints one JSON object on stdout. Exit code 0: done and every judged case passed; 1: a case failed;
2: bad input, a refused bundle or a missing runtime, with one sentence on stderr.`;

export function parseArguments(words) {
  const parsed = { bundle: null, replay: false, bench: false, help: false, threads: 1, inputs: [], outputs: [] };
  for (let i = 0; i < words.length; ++i) {
    const word = words[i];
    if (word === '--replay' || word === '--bench' || word === '--help') parsed[word.slice(2)] = true;
    else if (!word.startsWith('--')) parsed.bundle = word;
    else if (word === '--threads') parsed.threads = Number(words[++i]);
    else if (word === '--input' || word === '--output') {
      const [, name = '', file] = /^(?:([^=]+)=)?(.+)$/.exec(words[++i] ?? '') ?? [];
      if (!file) throw new Error(`${word} needs a file`);
      parsed[`${word.slice(2)}s`].push({ name, file });
    } else throw new Error(`there is no option ${word}; see --help`);
  }
  if (!parsed.bundle && !parsed.help) throw new Error('name the bundle to run; see --help');
  if (!(parsed.threads >= 1)) throw new Error('--threads takes a positive number');
  if (!parsed.inputs.length !== !parsed.outputs.length) throw new Error('--input and --output go together');
  return parsed;
}

/** The file given for a tensor, or null; a file without a name belongs to the only tensor of its side. */
export function fileOf(files, name, tensors) {
  return files.find((one) => one.name === name || (!one.name && tensors === 1))?.file ?? null;
}
