// ModelProto.metadata_props (field 14 of onnx.proto3) without an ONNX library: a Map from key to value.
import { fields, text } from './protobuf.mjs';

/** @param {Uint8Array} file @returns {Map<string, string>} */
export function readOnnxMetadata(file) {
  const metadata = new Map();
  for (const [number, payload] of fields(file)) {
    if (number !== 14) continue;
    const entry = new Map([...fields(payload)].map(([key, bytes]) => [key, text(bytes)]));
    metadata.set(entry.get(1) ?? '', entry.get(2) ?? '');
  }
  return metadata;
}
