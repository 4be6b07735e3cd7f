import type { Bundle, Ort, Read } from './index.js';

/** Reads a bundle's files in `directory`, for `openBundle`; links are refused. */
export function fromDirectory(directory: string): Read;

/** The names of all files in `directory`, for `openBundle`'s `names`. */
export function namesIn(directory: string): Promise<string[]>;

export interface Engine {
  /** In the place of ONNX Runtime, for `createSession` and `Stream`. */
  ort: Ort;
  runtime: 'native';
  /** Of the temport that compiled it. */
  version: string;
  /** What runs, in words. */
  path: string;
  /** SHA-256 of the outputs that it gives, by recorded case. */
  recorded: Record<string, string>;
}

/**
 * The bundle's native engine, called by the package koffi, or by WebAssembly where it is compiled for that. Rejects where
 * there is none for this processor.
 */
export function loadEngine(bundle: Bundle): Promise<Engine>;
