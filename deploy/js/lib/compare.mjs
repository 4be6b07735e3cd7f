// How far an output is from its float64 oracle, in the measures of the parity report.

const EPS = { float64: 2 ** -52, float32: 2 ** -23, float16: 2 ** -10, bfloat16: 2 ** -7 };
const QUANTILES = [0.05, 0.25, 0.5, 0.75, 0.95, 1];

/**
 * One row of the report. `bound` is recorded: the largest absolute error that passes (NaN: nobody can judge), torch's own
 * error, the oracle's scale, the conditioning, the largest root mean square of the error by the oracle's.
 */
export function compare(output, oracle, [allowed, torchError, scale, , allowedRms], dtype) {
  const row = { max_abs: null, max_rel: null, rms_ratio: null, cosine: null, quantiles: [] };
  if (output.length !== oracle.length)
    return { ...row, verdict: 'fail', reason: `${output.length} values where ${oracle.length} are right` };
  if (oracle.some((value) => !Number.isFinite(value)))
    return { ...row, verdict: 'ill-conditioned', reason: 'the oracle itself is not finite here' };
  if (dtype.endsWith('float16') && Number.isNaN(torchError) && !Number.isNaN(scale))
    return { ...row, verdict: 'ill-conditioned', reason: `the source itself gives NaN or infinity in ${dtype}` };
  const bad = output.filter((value) => !Number.isFinite(value)).length;
  if (bad) {
    const reason = `${bad} of ${output.length} values are NaN or infinite where the oracle is finite`;
    return { ...row, verdict: 'fail', reason };
  }
  const measures = measure(output, oracle, EPS[dtype] ?? EPS.float32);
  if (Number.isNaN(allowed))
    return { ...measures, verdict: 'ill-conditioned', reason: "the source's own error is above the ceiling here" };
  const above = (measure, value, most) =>
    ({ ...measures, verdict: 'fail', reason: `${measure} ${value.toPrecision(3)} is above ${most.toPrecision(3)}` });
  if (!(measures.max_abs <= allowed)) return above('max abs error', measures.max_abs, allowed);
  if (measures.rms_ratio > allowedRms) return above('rms ratio', measures.rms_ratio, allowedRms);
  return { ...measures, verdict: 'pass', reason: '' };
}

/** `fail` over `ill-conditioned` over `pass`. */
export const worst = (verdicts) => ['fail', 'ill-conditioned'].find((verdict) => verdicts.includes(verdict)) ?? 'pass';

function measure(output, oracle, eps) {
  const scale = largest(oracle);
  const error = output.map((value, i) => Math.abs(value - oracle[i]));
  const relative = error.map((value, i) => value / Math.max(Math.abs(oracle[i]), eps * scale));
  const maxAbs = largest(error);
  return {
    max_abs: maxAbs,
    max_rel: scale > 0 ? largest(relative) : maxAbs === 0 ? 0 : null,
    rms_ratio: ratio(rms(error), rms(oracle)),
    cosine: cosine(output, oracle),
    quantiles: quantiles(error),
  };
}

const largest = (values) => values.reduce((peak, value) => Math.max(peak, Math.abs(value)), 0);

// Scaled by the largest value first, so that squares neither overflow nor vanish.
function rms(values) {
  const peak = largest(values);
  return peak && peak * Math.sqrt(values.reduce((sum, value) => sum + (value / peak) ** 2, 0) / values.length);
}

function ratio(numerator, denominator) {
  if (denominator === 0) return numerator === 0 ? 0 : null;
  return Number.isFinite(numerator / denominator) ? numerator / denominator : null;
}

function cosine(a, b) {
  const peaks = [largest(a), largest(b)];
  if (peaks.includes(0)) return peaks[0] === peaks[1] ? 1 : null;
  let aa = 0, bb = 0, ab = 0;
  a.forEach((value, i) => {
    const x = value / peaks[0], y = b[i] / peaks[1];
    aa += x * x, bb += y * y, ab += x * y;
  });
  return Math.min(1, Math.max(-1, ab / Math.sqrt(aa * bb)));
}

function quantiles(values) {
  if (!values.length) return [];
  const sorted = Float64Array.from(values).sort();
  return QUANTILES.map((q) => {
    const place = q * (sorted.length - 1), below = Math.floor(place);
    const above = Math.min(below + 1, sorted.length - 1);
    return sorted[below] + (place - below) * (sorted[above] - sorted[below]);
  });
}
