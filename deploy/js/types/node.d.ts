import type { Bundle, Ort, Read } from './index.js';

/** Reads a bundle's files in `directory`, for `openBundle`; links are refused. */
export function fromDirectory(directory: string): Read;

/** The names of all files in `directory`, for `openBundle`'s `names`. */
export function namesIn(directory: string): Promise<string[]>;

/**
 * The bundle's native engine, for `createSession` and `Stream` in place of ONNX Runtime. `recorded`: SHA-256 of its outputs
 * by recorded case. Needs the package koffi, but for an engine in WebAssembly. Rejects where there is none for this
 * processor.
 */
export function loadNative(bundle: Bundle): Promise<{
  ort: Ort;
  runtime: string;
  version: string;
  path: string;
  recorded: Record<string, string>;
}>;
