"""Pure comparison of an output with the oracle: measures, the bound, the verdict."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from temport.exporter.declare.declaration import HALF
from temport.exporter.parity.decided import EXACT as EXACT_BOUND
from temport.exporter.parity.decided import difference
from temport.exporter.parity.result import FAIL, ILL, PASS, Bound, OutputRow
from temport.exporter.parity.rounding_noise import Limits, in_rows, rms

EPS = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}
"""Spacing of floating-point numbers at 1."""
CEILING = {"float64": 1e-3, "float32": 1e-3, "float16": 5e-2, "bfloat16": 5e-2}
"""error of the source, relative to its scale, beyond which it cannot say what is right."""
CEILING_OF_STEPS = 5e-2
"""The same of a model that rounds activations to int8, whose own steps are as wide as those of the half types: where a
number lies next to the border between two integers, float32 and float64 take different ones."""
TORCH_FACTOR = 2
FLOOR_ULPS = 16
FORMULA = f"max|error| <= {TORCH_FACTOR} * torch_error + {FLOOR_ULPS} * eps * max|oracle|"
CONDITIONING_FACTOR = 2
CONDITIONED = (
    f"max|error| <= {TORCH_FACTOR} * torch_error + "
    f"max({FLOOR_ULPS}, {CONDITIONING_FACTOR} * conditioning) * eps * max|oracle|"
)
"""In float32 and float64. A model that answers to one ulp of its inputs by many, as to a recurrent state far outside
its range, answers so to any order of a sum, and torch's may be a lucky one. The half types have stricter rules."""
EXACT = 1e-9
"""Of the scale: how far two float64 evaluations of one model may be apart, whatever its precision."""
ABOVE_CEILING = "the source's own error is above the ceiling here"
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95, 1.0)

Array = npt.NDArray[Any]


def max_abs(actual: Array, expected: Array) -> float:
    """max |actual - expected| in float64; 0 for empty arrays, inf where either is not finite."""
    if actual.size == 0:
        return 0.0
    with np.errstate(invalid="ignore"):
        error = np.abs(actual.astype(np.float64) - expected.astype(np.float64))
    return float(error.max()) if np.isfinite(error).all() else float("inf")


def bound(
    oracle: Array,
    torch_error: float,
    conditioning: float,
    precision: str,
    limits: Limits | None = None,
    scale: float | None = None,
    ceiling: float | None = None,
) -> Bound:
    """The bound of one output; `torch_error` is absolute, inf where torch left the finite numbers.

    scale    what errors are relative to: max|oracle|, or what was summed where that is 0
    ceiling  of the source's error; None: that of the precision
    """
    if not np.isfinite(oracle).all():
        return Bound(None, None, None, None, judgeable=False)
    if scale is None:
        scale = float(np.abs(oracle).max(initial=0.0))
    ceiling = CEILING[precision] if ceiling is None else ceiling
    if not np.isfinite(torch_error) or torch_error > ceiling * scale:
        return Bound(scale, _finite(torch_error), None, _finite(conditioning), judgeable=False)
    plain = precision in HALF or not np.isfinite(conditioning)
    ulps = FLOOR_ULPS if plain else max(FLOOR_ULPS, CONDITIONING_FACTOR * conditioning)
    allowed = TORCH_FACTOR * torch_error + ulps * EPS[precision] * scale
    ratio = None if limits is None else _ratio(limits.rms, rms(oracle))
    return Bound(scale, torch_error, allowed, _finite(conditioning), judgeable=True, allowed_rms_ratio=ratio)


def exactly(oracle: Array, scale: float | None = None) -> Bound:
    """The bound of what has to be the oracle but for the rounding of float64.

    scale  of its bound as a runtime's output, which is larger where the oracle is 0 and what was summed is not
    """
    if not np.isfinite(oracle).all():
        return Bound(None, None, None, None, judgeable=False)
    scale = max(float(np.abs(oracle).max(initial=0.0)), scale or 0.0)
    return Bound(scale, 0.0, EXACT * scale, None, judgeable=True)


def judge(
    actual: Array, oracle: Array, limit: Bound, precision: str, limits: Limits | None = None
) -> OutputRow:
    """Measures and verdict of one output: the largest error, and where there are `limits` the statistics as well.

    max_rel divides each error by |oracle|, but by no less than one ulp of the output's scale: an element
    that is exactly 0 has no relative error. NaN or infinity where the oracle is finite fails, but where torch
    overflows in the same half type: there nobody is judged.
    """
    if actual.shape != oracle.shape:
        return OutputRow(FAIL, f"shape {list(actual.shape)} where {list(oracle.shape)} is right")
    if why := unjudged(oracle, limit, precision):
        return OutputRow(ILL, why)
    bad = int(np.count_nonzero(~np.isfinite(actual)))
    if bad:
        return OutputRow(
            FAIL, f"{bad} of {actual.size} values are NaN or infinite where the oracle is finite"
        )
    if actual.size == 0:
        return OutputRow(PASS, "", 0.0, 0.0, 0.0, 1.0, share=0.0)
    got, oracle = actual.astype(np.float64), oracle.astype(np.float64)
    error = np.abs(got - oracle)
    worst = float(error.max())
    verdict, reason, share = _verdict(worst, limit)
    if limit == EXACT_BOUND and verdict == FAIL:
        reason = difference(got, oracle)
    if limits is not None and limit.judgeable:
        verdict, reason, share = _by_statistics(error, limits, (verdict, reason, share))
    return OutputRow(
        verdict,
        reason,
        max_abs=worst,
        max_rel=_max_rel(error, oracle, EPS[precision]),
        rms_ratio=_ratio(rms(error), rms(oracle)),
        cosine=_cosine(got, oracle),
        quantiles=tuple(float(q) for q in np.quantile(error, QUANTILES)),
        share=_finite(share),
    )


def unjudged(oracle: Array, limit: Bound, precision: str) -> str:
    """Why nothing that a runtime gives here, NaN included, could be judged; empty where it can."""
    if not np.isfinite(oracle).all():
        what = "NaN" if np.isnan(oracle).any() else "infinity"
        return f"the source itself gives {what} here"
    return overflow(precision) if overflows(limit, precision) else ""


def overflows(limit: Bound, precision: str) -> bool:
    """Whether torch left the finite numbers of a half type, whose range is small, where the oracle did not."""
    return precision in HALF and limit.scale is not None and limit.torch_error is None


def overflow(precision: str) -> str:
    return f"the source itself gives NaN or infinity in {precision}"


def rejudge(row: OutputRow, limit: Bound, precision: str) -> OutputRow:
    """The verdict that a row measured by another program earns under `limit`; its failures stay failures.

    Another program tells the largest error and the root mean square, so it is judged by these two.
    """
    if overflows(limit, precision):
        return replace(row, verdict=ILL, reason=overflow(precision))
    if row.verdict == FAIL or limit.scale is None:  # there the oracle is not finite, as the row says
        return row
    if row.max_abs is None and limit.judgeable:
        return OutputRow(FAIL, "no error was measured")
    verdict, reason, share = _verdict(row.max_abs or 0.0, limit)
    if limit.allowed_rms_ratio is not None and row.rms_ratio is not None and limit.judgeable:
        own = _share(row.rms_ratio, limit.allowed_rms_ratio)
        if own > share:
            verdict, reason, share = _rms_verdict(row.rms_ratio, limit.allowed_rms_ratio, "rms ratio")
    return replace(row, verdict=verdict, reason=reason, share=_finite(share))


def worst(verdicts: list[str]) -> str:
    """`fail` over `ill-conditioned` over `pass`."""
    return next((v for v in (FAIL, ILL) if v in verdicts), PASS)


def _verdict(error: float, limit: Bound) -> tuple[str, str, float]:
    """Verdict, reason and share of the bound of the largest error."""
    if limit.allowed is None or not limit.judgeable:
        return ILL, ABOVE_CEILING, 0.0
    if error <= limit.allowed:
        return PASS, "", _share(error, limit.allowed)
    return FAIL, f"max abs error {error:.3g} is above {limit.allowed:.3g}", _share(error, limit.allowed)


def _by_statistics(error: Array, limits: Limits, largest: tuple[str, str, float]) -> tuple[str, str, float]:
    """The worst of `largest` and the other rules; the first that fails gives the reason."""
    found = [largest, _rms_verdict(rms(error), limits.rms, "rms error")]
    found += [
        _place_verdict(in_rows(error), limits.rows, "row"),
        _place_verdict(error, limits.elements, "element"),
    ]
    verdict, reason, _ = next((one for one in found if one[0] == FAIL), largest)
    return verdict, reason, max(share for _, _, share in found)


def _rms_verdict(error: float, allowed: float, what: str) -> tuple[str, str, float]:
    share = _share(error, allowed)
    return (PASS, "", share) if share <= 1 else (FAIL, f"{what} {error:.3g} is above {allowed:.3g}", share)


def _place_verdict(error: Array, allowed: Array, what: str) -> tuple[str, str, float]:
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = np.where(error == 0, 0.0, error / allowed)
    worst = np.unravel_index(int(np.argmax(shares)), shares.shape)
    if shares[worst] <= 1:
        return PASS, "", float(shares[worst])
    place = list(map(int, worst))
    told = f"error {error[worst]:.3g} at {what} {place} is above {allowed[worst]:.3g}"
    return FAIL, told, float(shares[worst])


def _share(value: float, allowed: float) -> float:
    if value == 0:
        return 0.0
    return value / allowed if allowed > 0 else float("inf")


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


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
