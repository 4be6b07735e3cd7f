// The protobuf wire format without a library for it.

export const malformed = () => new Error('it is not an ONNX model');

/**
 * Every field of a message: [number, payload, value]. The payload of a field that is not length-delimited is empty, and
 * only a varint has a value.
 * @param {Uint8Array} bytes
 */
export function* fields(bytes) {
  let at = 0;
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
    // Beyond 32 bits some readers drop the rest of a tag, and would see another field.
    if (tag >= 2 ** 32 || tag < 8) throw malformed();
    const type = tag % 8;
    let length = { 1: 8, 5: 4 }[type] ?? 0;
    const value = type === 0 || type === 2 ? varint() : 0;
    if (type === 2) length = value;
    else if (type !== 0 && !length) throw malformed();
    if (length > bytes.length - at) throw malformed();
    yield [Math.floor(tag / 8), type === 2 ? bytes.subarray(at, at + length) : bytes.subarray(at, at), type === 0 ? value : 0];
    at += length;
  }
}

/** The text of a field. */
export const text = (payload) => new TextDecoder().decode(payload);
