// The package's entry. `ort` is onnxruntime-node or onnxruntime-web, which the program brings: only what is called of it
// is described, so that these types need neither.

export type Dtype = string;

/** A size, or an axis that is open. */
export type Size = number | { name: string; min: number; opt: number; max: number };

export interface TensorSpec {
  name: string;
  dtype: Dtype;
  shape: Size[];
}

export interface Signature {
  inputs: TensorSpec[];
  outputs: TensorSpec[];
  /** Of a step model: which output is which input of the next frame. */
  states?: { input: string; output: string; in_place?: boolean }[];
}

export interface Bundle {
  manifest: Record<string, any>;
  /** As manifest.sha256 holds it. */
  digest: string;
  signature: Signature;
  /** model.onnx, checked. */
  model: Uint8Array;
  /** A listed file, checked. */
  file(name: string): Promise<Uint8Array>;
}

/** Reads one file of a bundle's directory; null where there is none of that name. */
export type Read = (name: string) => Promise<Uint8Array | null>;

/**
 * Opens a bundle: manifest and model are checked before anything is used, every other file when it is read.
 * `digest`: of the bundle that is wanted. `names`: of all files there, where those that are not listed are to be refused.
 */
export function openBundle(read: Read, expected?: { digest?: string | null; names?: string[] | null }): Promise<Bundle>;

export interface OrtTensor {
  readonly type: string;
  readonly dims: readonly number[];
  readonly data: any;
  getData(): Promise<any>;
  dispose(): void;
}

export interface OrtSession {
  readonly inputNames: readonly string[];
  readonly outputNames: readonly string[];
  run(feeds: Record<string, any>): Promise<Record<string, any>>;
}

export interface Ort {
  Tensor: new (type: any, data: any, dims: readonly number[]) => any;
  InferenceSession: { create(model: Uint8Array, options?: any): Promise<any> };
}

export type Provider = 'cpu' | 'wasm' | 'webgpu';

/** Why a provider cannot compute this model, or null. */
export function refusal(bundle: Bundle, provider: Provider, halfFloats: boolean): string | null;

/** Loads the model. Rejects where the graph's names are not those of the signature. */
export function createSession(ort: Ort, bundle: Bundle, provider: Provider, threads?: number): Promise<OrtSession>;

export interface NamedArray {
  dtype: Dtype;
  shape: number[];
  bytes: Uint8Array;
}

/** `array` as a tensor for the input `spec`; throws where dtype or a size is not the signature's. */
export function toTensor(ort: Ort, spec: TensorSpec, array: NamedArray): OrtTensor;

/** Arrays by name as what `session.run` takes. */
export function toFeeds(ort: Ort, bundle: Bundle, inputs: Map<string, NamedArray>): Record<string, OrtTensor>;

/** A frame that holds NaN or infinity: the stream never saw it and goes on with the next one. */
export class RefusedFrame extends Error {}

/** A frame after the last that the model has a position for: the stream never saw it, and `reset` starts it anew. */
export class EndedStream extends Error {}

/** The elements of one input, in a typed array of its type; half floats as 16-bit patterns. */
export type Frame = ArrayBufferView & ArrayLike<number | bigint>;

/** A step model frame by frame: `batch` independent streams, their state kept inside. One thing at a time. */
export class Stream {
  constructor(
    ort: Ort,
    session: OrtSession,
    bundle: Bundle,
    batch?: number,
    policy?: { onNonfinite?: 'refuse' | 'pass' },
  );
  /**
   * One frame of every stream, `values` of [batch, ...], or of several inputs by name, static ones too: the output, or several
   * by name. Rejects with RefusedFrame, and with EndedStream after the last frame that the model has a position for.
   */
  push(values: Frame | Record<string, Frame>): Promise<OrtTensor | Record<string, OrtTensor>>;
  /** The same, always by name. */
  pushForAll(values: Frame | Record<string, Frame>): Promise<Record<string, OrtTensor>>;
  reset(): void;
  resetEntry(entry: number): Promise<void>;
  poisoned(entry?: number): Promise<boolean>;
  /** The state of one stream, the same bytes as in C++ and Python. */
  save(entry?: number): Promise<Uint8Array>;
  restore(state: Uint8Array, entry?: number): Promise<void>;
}
