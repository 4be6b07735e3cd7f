// A zip of stored .npy members as a Map from name (without ".npy") to array. Field offsets as in PKWARE's APPNOTE.TXT.
import { readNpy } from './npy.mjs';

const LOCAL = 0x04034b50, CENTRAL = 0x02014b50, END = 0x06054b50;
const LOCAL_SIZE = 30, CENTRAL_SIZE = 46, END_SIZE = 22;

/** @param {Uint8Array} file @returns {Map<string, {dtype: string, shape: number[], bytes: Uint8Array}>} */
export function readNpz(file) {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const end = findEnd(view);
  const members = view.getUint16(end + 10, true), start = view.getUint32(end + 16, true);
  if (start + view.getUint32(end + 12, true) !== end) throw new Error('its end record is damaged, or it is zip64');
  const arrays = new Map();
  const ranges = [];
  let at = start;
  for (let i = 0; i < members; ++i) {
    const member = readMember(view, file, at, end);
    at = member.next;
    if (!member.name.endsWith('.npy')) throw new Error(`its member ${member.name} is not a .npy array`);
    const name = member.name.slice(0, -4);
    if (arrays.has(name)) throw new Error(`its member ${member.name} appears twice`);
    ranges.push(member);
    arrays.set(name, readNpy(file.subarray(member.begin, member.end)));
  }
  if (at !== end) throw new Error('its central directory is damaged');
  ranges.sort((a, b) => a.begin - b.begin);
  if (ranges.some((range, i) => i > 0 && range.begin < ranges[i - 1].end)) throw new Error('two of its members overlap');
  return arrays;
}

function findEnd(view) {
  const last = view.byteLength - END_SIZE;
  for (let at = last; at >= 0 && at >= last - 65535; --at)
    if (view.getUint32(at, true) === END && view.getUint16(at + 20, true) === last - at) return at;
  throw new Error('it is not a zip archive or is cut short');
}

function readMember(view, file, at, end) {
  if (at + CENTRAL_SIZE > end || view.getUint32(at, true) !== CENTRAL)
    throw new Error('its central directory is damaged');
  const size = view.getUint16(at + 28, true);
  const next = at + CENTRAL_SIZE + size + view.getUint16(at + 30, true) + view.getUint16(at + 32, true);
  if (next > end) throw new Error('its central directory is damaged');
  const name = new TextDecoder().decode(file.subarray(at + CENTRAL_SIZE, at + CENTRAL_SIZE + size));
  if (view.getUint16(at + 8, true) & 1 || view.getUint16(at + 10, true) !== 0)
    throw new Error(`its member ${name} is compressed or encrypted; only stored members are read`);
  const stored = view.getUint32(at + 20, true), local = view.getUint32(at + 42, true);
  if (local + LOCAL_SIZE > view.byteLength || view.getUint32(local, true) !== LOCAL)
    throw new Error(`its member ${name} has no local header`);
  const begin = local + LOCAL_SIZE + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
  if (begin + stored > view.byteLength) throw new Error(`its member ${name} lies outside the archive`);
  return { name, begin, end: begin + stored, next };
}
