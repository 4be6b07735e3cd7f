import type { Bundle, Read } from './index.js';

/** Reads a bundle's files in `directory`, for `openBundle`; links are refused. */
export function fromDirectory(directory: string): Read;

/** The names of all files in `directory`, for `openBundle`'s `names`. */
export function namesIn(directory: string): Promise<string[]>;

/** Typed arrays, in the order of the signature. */
export type Arrays = ArrayBufferView[];

export interface EngineInstance {
  run(sizes: BigInt64Array, inputs: Arrays, outputs: Arrays): void;
  load(sizes: BigInt64Array, states: Arrays): void;
  store(sizes: BigInt64Array, states: Arrays): void;
}

export interface Engine {
  axes: string[];
  isa: string;
  version: string;
  library: string;
  create(): EngineInstance;
}

/** The bundle's native engine, called by the package koffi. Rejects where there is none for this processor. */
export function loadEngine(bundle: Bundle): Promise<Engine>;
