// Frames arriving one by one: the newest `length` of them are the model's window.

/** Rows of numbers from CSV text; a header line is skipped. Errors are sentences. */
export function parseCsv(text, width) {
  const lines = text.split(/\r?\n/).filter((line) => line.trim());
  const rows = lines.map((line) => line.split(',').map(Number));
  if (rows.length && rows[0].some(Number.isNaN)) rows.shift();
  const bad = rows.findIndex((row) => row.length !== width || !row.every(Number.isFinite));
  if (bad >= 0) throw new Error(`row ${bad + 1} of the CSV is not ${width} finite numbers`);
  if (!rows.length) throw new Error('the CSV has no rows of numbers');
  return rows;
}

/** A sensor that does not exist: one sine per channel with a little noise. */
export function* synthetic(width) {
  for (let t = 0; ; ++t)
    yield Array.from({ length: width }, (_, d) => Math.sin(t / (4 + 3 * d) + d) + 0.05 * (Math.random() - 0.5));
}

/** Whether frames can be fed to this signature: one float32 input [batch, time, features]. */
export function streamable({ inputs }) {
  return inputs.length === 1 && inputs[0].dtype === 'float32' && inputs[0].shape.length === 3 &&
    typeof inputs[0].shape[2] === 'number';
}

/** The last `length` frames, oldest first; before that many came, the first one stands in for the missing. */
export class Window {
  constructor(length, width) {
    this.length = length;
    this.width = width;
    this.values = new Float32Array(length * width);
    this.filled = false;
  }
  push(frame) {
    if (!this.filled) for (let t = 0; t < this.length; ++t) this.values.set(frame, t * this.width);
    this.filled = true;
    this.values.copyWithin(0, this.width);
    this.values.set(frame, (this.length - 1) * this.width);
  }
}
