// The native engine of a bundle (temport export --target native) by its C interface, custom_ops/engine/temport_engine.h.
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { machine as ownMachine, tmpdir } from 'node:os';
import { join } from 'node:path';
import { arch } from 'node:process';

const ABI = 2, PASS_NONFINITE = 1;
const AVX2 = ['x64', 'avx2', 'fma', 'f16c'], AVX512 = [...AVX2, 'avx512f', 'avx512bw', 'avx512dq', 'avx512vl'];
// By instruction set: the processors that may have it, and the flags (on Arm features) of /proc/cpuinfo that one of them needs.
const NEEDS = {
  avx512: AVX512,
  avx512vnni: [...AVX512, 'avx512_vnni'],
  avx2: AVX2,
  avx2vnni: [...AVX2, 'avx_vnni'],
  sse42: ['x64', 'sse4_2'],
  neon: ['arm64'],
  neondot: ['arm64', 'asimddp'],
  portable: [arch],
};

/** The engine of an entry of engine.json, as `loadNative` takes it. Throws for one that is not for this processor. */
export async function loadEngine(bundle, { file, isa, machine }) {
  if (machine !== ownMachine() || !(await hasProcessor(isa))) throw new Error(`${file} is for ${machine} processors with ${isa}, which this one is not`);
  const koffi = await loadKoffi();
  return open(koffi, await loadBytes(koffi, await bundle.file(file)), file);
}

async function hasProcessor(isa) {
  if (!Object.hasOwn(NEEDS, isa)) return false;
  const [machine, ...flags] = NEEDS[isa];
  if (machine !== arch || !flags.length) return machine === arch;
  const told = await readFile('/proc/cpuinfo', 'utf8').catch(() => '');
  const own = new Set(/^(?:flags|Features)\s*:(.*)$/m.exec(told)?.[1].split(' '));
  return flags.every((flag) => own.has(flag));
}

async function loadKoffi() {
  try {
    return (await import('koffi')).default;
  } catch (error) {
    throw new Error(`koffi is not here (${error.code ?? error.message}), which calls native engines; run npm install in deploy/js`);
  }
}

// What is loaded is what was checked: a copy of the bytes that nobody else may write, gone once the loader has it.
async function loadBytes(koffi, bytes) {
  const folder = await mkdtemp(join(tmpdir(), 'temport-engine-'));
  try {
    await writeFile(join(folder, 'engine.so'), bytes, { mode: 0o500, flag: 'wx' });
    return koffi.load(join(folder, 'engine.so'));
  } catch (error) {
    throw new Error(`the engine cannot be loaded (${error.message})`);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function open(koffi, library, file) {
  const address = library.func('temport_engine_of_this_library', 'void *', [])();
  const abi = koffi.decode(address, 'uint32');
  if (abi !== ABI) throw new Error(`${file} has version ${abi} of the engine's interface, and this is ${ABI}`);
  const fields = {
    abi: 'uint32', temport: 'str', model: 'str', isa: 'str', memory_bytes: 'size_t', alignment: 'size_t', state_bytes: 'size_t',
    weight_bytes: 'size_t', axis_count: 'uint32', input_count: 'uint32', output_count: 'uint32', state_count: 'uint32',
    axis: 'void *', input: 'void *', output: 'void *', state: 'void *', reset: 'void *', run: 'void *', load: 'void *', store: 'void *',
  };
  const { temport, model, isa, ...table } = koffi.decode(address, koffi.struct(fields));
  const axis = koffi.struct({ name: 'str', min: 'int64', max: 'int64' });
  const axes = Array.from({ length: table.axis_count }, (_, i) => koffi.decode(table.axis, i * koffi.sizeof(axis), axis).name);
  const called = (field, result, ...given) => koffi.decode(table[field], koffi.proto(result, given));
  const reset = called('reset', 'void', 'void *'), run = called('run', 'int', 'void *', 'int64_t *', 'void **', 'void **', 'uint32_t');
  const load = called('load', 'void', 'void *', 'int64_t *', 'void **'), store = called('store', 'void', 'void *', 'int64_t *', 'void **');
  const create = () => {
    const room = new Uint8Array(table.memory_bytes + table.alignment);
    const memory = room.subarray(Number(-koffi.address(room) & BigInt(table.alignment - 1)));
    reset(memory);
    return {
      run: (sizes, inputs, outputs) => {
        const code = run(memory, sizes, inputs, outputs, PASS_NONFINITE);
        if (code !== 0) throw new Error(`the native engine failed with code ${code}`);
      },
      load: (sizes, states) => load(memory, sizes, states),
      store: (sizes, states) => store(memory, sizes, states),
    };
  };
  return { version: temport, model, isa, axes, create };
}
