// Where frames come from: a CSV file, or a sensor that does not exist.

/** Rows of numbers from CSV text; a header line is skipped. Errors are sentences. */
export function parseCsv(text, width) {
  const lines = text.split(/\r?\n/).filter((line) => line.trim());
  const rows = lines.map((line) => line.split(',').map((cell) => (cell.trim() ? Number(cell) : NaN)));
  if (rows.length && rows[0].every(Number.isNaN)) rows.shift();
  const bad = rows.findIndex((row) => row.length !== width || !row.every(Number.isFinite));
  if (bad >= 0) throw new Error(`row ${bad + 1} of the CSV is not ${width} finite numbers`);
  if (!rows.length) throw new Error('the CSV has no rows of numbers');
  return rows;
}

/** One sine per channel with a little noise, for ever. */
export function* synthetic(width) {
  for (let t = 0; ; ++t)
    yield Array.from({ length: width }, (_, d) => Math.sin(t / (4 + 3 * d) + d) + 0.05 * (Math.random() - 0.5));
}
