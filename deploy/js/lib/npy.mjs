// The .npy array format, read within bounds: {dtype, shape, bytes}. Errors are sentences.

const DESCRS = {
  '|b1': 'bool', '|u1': 'uint8', '|i1': 'int8', '<u2': 'uint16', '<i2': 'int16', '<i4': 'int32', '<i8': 'int64', '<f2': 'float16', '<f4': 'float32', '<f8': 'float64',
};
const SIZES = { bool: 1, uint8: 1, int8: 1, uint16: 2, int16: 2, int32: 4, int64: 8, float16: 2, float32: 4, float64: 8 };
const MAX_HEADER = 4096, MAX_RANK = 8;
const HEADER = /^\{'descr': '([^']{2,8})', 'fortran_order': (True|False), 'shape': \(((?:\d{1,15}, ?)*\d{0,15})\),? ?\} *\n?$/;

/** @param {Uint8Array} file @returns {{dtype: string, shape: number[], bytes: Uint8Array}} */
export function readNpy(file) {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  if (file.length < 12 || file[0] !== 0x93 || String.fromCharCode(...file.subarray(1, 6)) !== 'NUMPY')
    throw new Error('it is not a .npy array');
  if (file[6] < 1 || file[6] > 3) throw new Error(`it is a .npy array of unknown version ${file[6]}`);
  const prefix = file[6] === 1 ? 10 : 12;
  const length = file[6] === 1 ? view.getUint16(8, true) : view.getUint32(8, true);
  if (length > MAX_HEADER || prefix + length > file.length) throw new Error('its .npy header is cut short or too long');
  const fields = HEADER.exec(new TextDecoder('latin1').decode(file.subarray(prefix, prefix + length)));
  if (!fields) throw new Error('its .npy header is malformed');
  const [, descr, fortran, sizes] = fields;
  const dtype = DESCRS[descr];
  if (!dtype) throw new Error(`its element type ${descr} is not one of ${Object.values(DESCRS).join(', ')}`);
  if (fortran === 'True') throw new Error('it is a Fortran-ordered array; save it with numpy.ascontiguousarray');
  const shape = sizes.split(',').map((size) => size.trim()).filter(Boolean).map(Number);
  if (shape.length > MAX_RANK) throw new Error(`it has more than ${MAX_RANK} dimensions`);
  const bytes = file.subarray(prefix + length);
  if (sizeOf(shape) * SIZES[dtype] !== bytes.length)
    throw new Error(`its shape [${shape}] of ${dtype} does not fit the ${bytes.length} bytes of data present`);
  return { dtype, shape, bytes };
}

/** A version 1 file of a C-ordered array. */
export function writeNpy({ dtype, shape, bytes }) {
  const descr = Object.keys(DESCRS).find((key) => DESCRS[key] === dtype);
  let header = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${shape.map((size) => `${size},`).join('')}), }`;
  header = header.padEnd(Math.ceil((10 + header.length + 1) / 64) * 64 - 11) + '\n';
  const file = new Uint8Array(10 + header.length + bytes.length);
  file.set([0x93, ...new TextEncoder().encode('NUMPY'), 1, 0, header.length & 255, header.length >> 8]);
  file.set(new TextEncoder().encode(header), 10);
  file.set(bytes, 10 + header.length);
  return file;
}

/** How many elements a shape has. */
export const sizeOf = (shape) => shape.reduce((product, size) => product * size, 1);

/** The typed array that holds elements of a type. */
export const ARRAYS = {
  bool: Uint8Array, uint8: Uint8Array, int8: Int8Array, uint16: Uint16Array, int16: Int16Array, int32: Int32Array, int64: BigInt64Array,
  float16: Uint16Array, float32: Float32Array, float64: Float64Array,
};

/** An array of zeros. */
export function zeros(dtype, shape) {
  if (!(dtype in SIZES)) throw new Error(`the element type ${dtype} is not one of ${Object.keys(SIZES).join(', ')}`);
  return { dtype, shape, bytes: new Uint8Array(sizeOf(shape) * SIZES[dtype]) };
}

/** The elements as a typed array of their own; half floats stay 16-bit patterns. */
export function elements({ dtype, bytes }) {
  const Type = ARRAYS[dtype];
  const own = bytes.slice();
  return new Type(own.buffer, 0, own.length / Type.BYTES_PER_ELEMENT);
}

/** Any elements as float64. */
export function toDoubles(dtype, values) {
  if (dtype === 'float16' && values instanceof Uint16Array) return Float64Array.from(values, halfToDouble);
  return Float64Array.from(values, Number);
}

// IEEE 754 binary16: 1 sign, 5 exponent, 10 fraction bits.
function halfToDouble(bits) {
  const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (fraction + 1024) * 2 ** (exponent - 25);
}
