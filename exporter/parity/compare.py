"""Pure comparison of an output with the oracle: measures, the bound, the verdict."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from temport.exporter.parity.result import FAIL, ILL, PASS, Bound, OutputRow

EPS = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}
"""Spacing of floating-point numbers at 1."""
CEILING = {"float64": 1e-3, "float32": 1e-3, "float16": 5e-2, "bfloat16": 5e-2}
"""torch error, relative to the output's scale, beyond which torch itself cannot say what is right."""
TORCH_FACTOR = 2
FLOOR_ULPS = 16
FORMULA = f"max|error| <= {TORCH_FACTOR} * torch_error + {FLOOR_ULPS} * eps * max|oracle|"
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95, 1.0)

Array = npt.NDArray[Any]


def max_abs(actual: Array, expected: Array) -> float:
    """max |actual - expected| in float64; 0 for empty arrays, inf where either is not finite."""
    if actual.size == 0:
        return 0.0
    with np.errstate(invalid="ignore"):
        error = np.abs(actual.astype(np.float64) - expected.astype(np.float64))
    return float(error.max()) if np.isfinite(error).all() else float("inf")


def bound(oracle: Array, torch_error: float, conditioning: float, precision: str) -> Bound:
    """The bound of one output; `torch_error` is absolute, inf where torch left the finite numbers."""
    if not np.isfinite(oracle).all():
        return Bound(None, None, None, None, judgeable=False)
    scale = float(np.abs(oracle).max(initial=0.0))
    if not np.isfinite(torch_error) or torch_error > CEILING[precision] * scale:
        return Bound(scale, _finite(torch_error), None, _finite(conditioning), judgeable=False)
    allowed = TORCH_FACTOR * torch_error + FLOOR_ULPS * EPS[precision] * scale
    return Bound(scale, torch_error, allowed, _finite(conditioning), judgeable=True)


def judge(actual: Array, oracle: Array, limit: Bound, precision: str) -> OutputRow:
    """Measures and verdict of one output.

    max_rel divides each error by |oracle|, but by no less than one ulp of the output's scale: an element
    that is exactly 0 has no relative error. NaN or infinity where the oracle is finite fails, always.
    """
    if actual.shape != oracle.shape:
        return OutputRow(FAIL, f"shape {list(actual.shape)} where {list(oracle.shape)} is right")
    if not np.isfinite(oracle).all():
        return OutputRow(ILL, "the oracle itself is not finite here")
    bad = int(np.count_nonzero(~np.isfinite(actual)))
    if bad:
        return OutputRow(
            FAIL, f"{bad} of {actual.size} values are NaN or infinite where the oracle is finite"
        )
    if actual.size == 0:
        return OutputRow(PASS, "", 0.0, 0.0, 0.0, 1.0)
    got = actual.astype(np.float64)
    error = np.abs(got - oracle)
    worst = float(error.max())
    verdict, reason = _verdict(worst, limit)
    return OutputRow(
        verdict,
        reason,
        max_abs=worst,
        max_rel=_max_rel(error, oracle, EPS[precision]),
        rms_ratio=_ratio(_rms(error), _rms(oracle)),
        cosine=_cosine(got, oracle),
        quantiles=tuple(float(q) for q in np.quantile(error, QUANTILES)),
    )


def rejudge(row: OutputRow, limit: Bound) -> OutputRow:
    """The verdict that a row measured by another program earns under `limit`; its failures stay failures."""
    if row.verdict == FAIL:
        return row
    if row.max_abs is None and limit.judgeable:
        return OutputRow(FAIL, "no error was measured")
    verdict, reason = _verdict(row.max_abs or 0.0, limit)
    return OutputRow(verdict, reason, row.max_abs, row.max_rel, row.rms_ratio, row.cosine, row.quantiles)


def worst(verdicts: list[str]) -> str:
    """`fail` over `ill-conditioned` over `pass`."""
    return next((v for v in (FAIL, ILL) if v in verdicts), PASS)


def _verdict(error: float, limit: Bound) -> tuple[str, str]:
    if limit.allowed is None or not limit.judgeable:
        return ILL, "torch's own error is above the ceiling here"
    if error <= limit.allowed:
        return PASS, ""
    return FAIL, f"max abs error {error:.3g} is above {limit.allowed:.3g}"


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _rms(x: Array) -> float:
    peak = float(np.abs(x).max())
    return peak * float(np.sqrt(np.mean((x / peak) ** 2))) if peak > 0 else 0.0


def _ratio(numerator: float, denominator: float) -> float | None:
    if denominator == 0:
        return 0.0 if numerator == 0 else None
    return _finite(numerator / denominator)


def _max_rel(error: Array, oracle: Array, eps: float) -> float | None:
    scale = float(np.abs(oracle).max())
    if scale == 0:
        return 0.0 if error.max() == 0 else None
    return _finite(float((error / np.maximum(np.abs(oracle), eps * scale)).max()))


def _cosine(a: Array, b: Array) -> float | None:
    """Cosine of the angle between two arrays; None where exactly one of them is 0."""
    peaks = float(np.abs(a).max()), float(np.abs(b).max())
    if 0 in peaks:
        return 1.0 if peaks == (0.0, 0.0) else None
    x, y = a.ravel() / peaks[0], b.ravel() / peaks[1]
    return float(np.clip(x @ y / np.sqrt((x @ x) * (y @ y)), -1.0, 1.0))
