// onnxruntime-web from this server, one build per execution provider.

const DIST = new URL('../node_modules/onnxruntime-web/dist/', import.meta.url);
const BUILDS = { wasm: 'ort.wasm.min.mjs', webgpu: 'ort.webgpu.min.mjs' };

/** @param {'wasm' | 'webgpu'} provider */
export async function loadRuntime(provider, threads = 1) {
  if (provider === 'webgpu' && !(await navigator.gpu?.requestAdapter()))
    throw new Error('WebGPU is not available in this browser; choose WebAssembly');
  const ort = await import(new URL(BUILDS[provider], DIST));
  ort.env.wasm.wasmPaths = DIST.href;
  if (threads > 1 && !crossOriginIsolated)
    throw new Error('threads need a cross-origin isolated page; serve it with web/serve.mjs, or use one');
  ort.env.wasm.numThreads = threads;
  return ort;
}

/** Reads a bundle's files below a URL. */
export function fromUrl(base) {
  return async (name) => {
    const answer = await fetch(`${base}/${encodeURIComponent(name)}`);
    if (!answer.ok) throw new Error(`${name} cannot be read (HTTP ${answer.status})`);
    return new Uint8Array(await answer.arrayBuffer());
  };
}

/** Reads a bundle's files from a directory the user chose. */
export function fromDirectory(files) {
  return async (name) => {
    const file = [...files].find((one) => one.webkitRelativePath.split('/').slice(1).join('/') === name);
    if (!file) throw new Error(`the directory has no ${name}; choose one that temport export wrote`);
    return new Uint8Array(await file.arrayBuffer());
  };
}

/** What this browser and runtime call themselves. */
export function identity(ort, provider, threads = 1) {
  const browser = navigator.userAgentData?.brands?.find(({ brand }) => !/Not/.test(brand));
  return {
    runner: browser ? `${browser.brand} ${browser.version}` : navigator.userAgent,
    runtime: `onnxruntime-web ${provider}`,
    version: ort.env.versions.web,
    machine: 'browser',
    threads,
  };
}
