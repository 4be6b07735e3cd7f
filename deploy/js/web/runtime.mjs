// onnxruntime-web from this server, one build per execution provider.

const DIST = new URL('../node_modules/onnxruntime-web/dist/', import.meta.url);
const BUILDS = { wasm: 'ort.wasm.min.mjs', webgpu: 'ort.webgpu.min.mjs' };

/**
 * The runtime, and the place it runs in as the report names it (see `perform`).
 * @param {'wasm' | 'webgpu'} provider
 */
export async function loadRuntime(provider, threads = 1) {
  if (!Object.hasOwn(BUILDS, provider))
    throw new Error(`the execution provider ${provider} is unknown; choose ${Object.keys(BUILDS).join(' or ')}`);
  const adapter = provider === 'webgpu' ? await navigator.gpu?.requestAdapter() : null;
  if (provider === 'webgpu' && !adapter) throw new Error('this browser has no WebGPU adapter; choose WebAssembly');
  if (threads > 1 && !crossOriginIsolated)
    throw new Error('threads need a cross-origin isolated page; serve it with web/serve.mjs, or use one');
  const ort = await import(new URL(BUILDS[provider], DIST));
  ort.env.wasm.wasmPaths = DIST.href;
  ort.env.wasm.numThreads = threads;
  const browser = navigator.userAgentData?.brands?.find(({ brand }) => !/Not/.test(brand));
  const gpu = adapter && [adapter.info.vendor, adapter.info.architecture].filter(Boolean).join(' ');
  const place = {
    name: `browser-${provider}`,
    provider,
    halfFloats: !adapter || adapter.features.has('shader-f16'),
    runner: browser ? `${browser.brand} ${browser.version}` : navigator.userAgent,
    runtime: `onnxruntime-web ${provider}`,
    version: ort.env.versions.web,
    machine: gpu || 'browser',
  };
  return { ort, place };
}
