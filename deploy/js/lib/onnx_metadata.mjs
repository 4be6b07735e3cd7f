// ModelProto.metadata_props (field 14 of onnx.proto3) without an ONNX library: a Map from key to value.

/** @param {Uint8Array} file @returns {Map<string, string>} */
export function readOnnxMetadata(file) {
  const metadata = new Map();
  for (const [number, payload] of fields(file)) {
    if (number !== 14) continue;
    const text = new Map([...fields(payload)].map(([key, bytes]) => [key, new TextDecoder().decode(bytes)]));
    metadata.set(text.get(1) ?? '', text.get(2) ?? '');
  }
  return metadata;
}

// The protobuf wire format; the payload of a field that is not length-delimited is empty.
function* fields(bytes) {
  let at = 0;
  const malformed = () => new Error('it is not an ONNX model');
  const varint = () => {
    for (let value = 0, scale = 1; scale < 2 ** 64 && at < bytes.length; scale *= 128) {
      const byte = bytes[at++];
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
    throw malformed();
  };
  while (at < bytes.length) {
    const tag = varint();
    const type = tag % 8;
    let length = { 1: 8, 5: 4 }[type] ?? 0;
    if (type === 0) varint();
    else if (type === 2) length = varint();
    else if (!length) throw malformed();
    if (length > bytes.length - at) throw malformed();
    yield [Math.floor(tag / 8), type === 2 ? bytes.subarray(at, at + length) : bytes.subarray(at, at)];
    at += length;
  }
}
