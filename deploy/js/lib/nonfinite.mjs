// NaN and infinity among the elements of an array.

/**
 * The first of `values` that is no finite number, {index, what}, or null; integers and bools have none.
 * @param {string} dtype float16 may come as 16-bit patterns
 */
export function firstNonFinite(dtype, values) {
  if (!dtype.startsWith('float')) return null;
  const isBits = dtype === 'float16' && values instanceof Uint16Array;
  const index = isBits ? values.findIndex((bits) => (bits & 0x7c00) === 0x7c00) : values.findIndex((value) => !Number.isFinite(value));
  if (index < 0) return null;
  const isNaN = isBits ? (values[index] & 0x3ff) !== 0 : Number.isNaN(values[index]);
  return { index, what: isNaN ? 'NaN' : 'infinity' };
}
