// What runs a bundle in a browser: its own engine in WebAssembly, or onnxruntime-web from this server, one build per
// execution provider.
import { engineEntry, loadNative } from '../lib/native.mjs';

const DIST = new URL('../node_modules/onnxruntime-web/dist/', import.meta.url);
const BUILDS = { wasm: 'ort.wasm.min.mjs', webgpu: 'ort.webgpu.min.mjs' };

/**
 * The runtime, and the place it runs in as the report names it (see `perform`).
 * @param {'auto' | 'native' | 'wasm' | 'webgpu'} provider auto: the bundle's engine, onnxruntime-web where it has none for
 *   browsers; native: nothing else
 */
export async function loadRuntime(provider, bundle, threads = 1) {
  if (provider === 'auto') return loadRuntime((await engineEntry(bundle))?.isa === 'wasm' ? 'native' : 'wasm', bundle, threads);
  if (provider === 'native') return loadOwnEngine(bundle);
  if (!Object.hasOwn(BUILDS, provider))
    throw new Error(`the execution provider ${provider} is unknown; choose ${Object.keys(BUILDS).join(' or ')}`);
  const adapter = provider === 'webgpu' ? await navigator.gpu?.requestAdapter() : null;
  if (provider === 'webgpu' && !adapter) throw new Error('this browser has no WebGPU adapter; choose WebAssembly');
  if (threads > 1 && !crossOriginIsolated)
    throw new Error('threads need a cross-origin isolated page; serve it with web/serve.mjs, or use one');
  const ort = await import(new URL(BUILDS[provider], DIST));
  ort.env.wasm.wasmPaths = DIST.href;
  ort.env.wasm.numThreads = threads;
  const gpu = adapter && [adapter.info.vendor, adapter.info.architecture].filter(Boolean).join(' ');
  const place = {
    name: `browser-${provider}`,
    provider,
    halfFloats: !adapter || adapter.features.has('shader-f16'),
    runner: browserName(),
    runtime: `onnxruntime-web ${provider}`,
    version: ort.env.versions.web,
    machine: gpu || 'browser',
  };
  return { ort, place };
}

async function loadOwnEngine(bundle) {
  const notHere = async (_, { file, isa }) => {
    throw new Error(`${file} is for processors with ${isa}, and browsers run WebAssembly; export with --engine-isa wasm`);
  };
  const { ort, ...native } = await loadNative(bundle, notHere);
  const place = { name: 'browser-native', provider: 'native', halfFloats: true, runner: browserName(), machine: 'browser', ...native };
  return { ort, place };
}

function browserName() {
  const browser = navigator.userAgentData?.brands?.find(({ brand }) => !/Not/.test(brand));
  return browser ? `${browser.brand} ${browser.version}` : navigator.userAgent;
}
