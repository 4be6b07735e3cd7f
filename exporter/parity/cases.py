"""Seeded input cases, generated from the declaration's tensor specs alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from temport.exporter.declare.declaration import Axis, Declaration, TensorSpec
from temport.exporter.declare.values import INTEGERS, Values, check_told, integers, mask
from temport.exporter.errors import UserError
from temport.exporter.runtimes.contract import Arrays

Array = npt.NDArray[Any]
Fill = Callable[[np.random.Generator, tuple[int, ...], Declaration], Array]
"""`fill(rng, shape, declaration)`: float64 values of one input, its last axis features, its second axis time."""

UNLIKE = {"batch": (3, 1, 5, 2), "other": (7, 1, 37, 61)}
"""Sizes tried on open axes besides the example's: small, odd, no multiple of any block."""
FLOATS = ("float16", "bfloat16", "float32", "float64")
RAW = (1e5, 1e7)
"""Magnitudes of sensors whose numbers nobody scaled: pascals, metres of a map, 24-bit audio."""
OFFSET, SPIKE = 100.0, 30.0
"""Where a sensor stays, and how far an impulse leaves it, in units of its noise."""
UNFIT = {"float16": ("raw", "peaked"), "bfloat16": ("peaked",), "fp16": ("raw",)}
"""Not for a half type: float16 ends at 65504, and both round scores of a thousand by more than a key's lead. The last
is of keys and values alone."""
PATTERNS, PEAK = 4, 30.0
"""How many different frames there are where scores are peaked, and how large they are."""


@dataclass(frozen=True)
class Case:
    """Named inputs with the distribution (`kind`) they were drawn from."""

    name: str
    kind: str
    inputs: Arrays

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: array.shape for name, array in self.inputs.items()}


def check_names(cases: Sequence[Case]) -> None:
    """UserError where two cases have one name: results are found by it."""
    names = [case.name for case in cases]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UserError(f"two cases are called {twice}; give the input files different names")


def default_cases(declaration: Declaration) -> tuple[Case, ...]:
    """One case per distribution; open axes take a different size in each, and their maximum in one more."""
    cases = [
        _case(declaration, kind, "random", _sizes(declaration, turn))
        for turn, kind in enumerate(DISTRIBUTIONS)
        if kind not in {*UNFIT.get(declaration.precision, ()), *UNFIT.get(declaration.kv_dtype, ())}
    ]
    if any(not axis.static for axis in declaration.axes.values() if axis.name != "batch"):
        cases.append(_case(declaration, "normal", "random", _longest(declaration)))
    if any(spec.dtype == "bool" for spec in declaration.inputs):
        cases += [
            _case(declaration, "normal", mask, _sizes(declaration, turn))
            for turn, mask in ((0, "all"), (1, "empty"))
        ]
    return tuple({case.name: case for case in cases}.values())


def _case(declaration: Declaration, kind: str, masks: str, sizes: dict[str, int]) -> Case:
    turn = list(DISTRIBUTIONS).index(kind)
    rng = np.random.default_rng([declaration.seed, turn, len(masks), *sizes.values()])
    inputs = {spec.name: _values(rng, spec, kind, masks, sizes, declaration) for spec in declaration.inputs}
    has_mask = any(spec.dtype == "bool" for spec in declaration.inputs)
    parts = [kind, *([f"mask-{masks}"] if has_mask else []), *(f"{n}{v}" for n, v in sizes.items())]
    return Case("-".join(parts), kind, inputs)


def _values(
    rng: np.random.Generator,
    spec: TensorSpec,
    kind: str,
    masks: str,
    sizes: dict[str, int],
    declaration: Declaration,
) -> Array:
    shape, values = spec.at(**sizes), spec.values or Values()
    if spec.dtype == "bool":
        return mask(rng, shape, masks, values)
    if spec.dtype not in (*FLOATS, *INTEGERS):
        raise UserError(
            f"input {spec.name} is {spec.dtype}; cases can be generated for numbers and bools only"
        )
    check_told(spec.name, spec.dtype, spec.values)
    low, high = values.limits(spec.dtype, sizes)
    if low > high:
        raise UserError(f"input {spec.name} has no value from {low:g} to {high:g}; give another range")
    if spec.dtype in INTEGERS:
        return integers(rng, shape, low, high).astype(spec.dtype, order="C")
    largest = float(ml_dtypes.finfo(spec.dtype).max)
    drawn = np.clip(DISTRIBUTIONS[kind](rng, shape, declaration), max(low, -largest), min(high, largest))
    return np.asarray(drawn.astype(spec.dtype, order="C"))  # numpy makes a number of what has no axes


def _normal(rng: np.random.Generator, shape: tuple[int, ...], declaration: Declaration) -> Array:
    return rng.standard_normal(shape)


def _constant(rng: np.random.Generator, shape: tuple[int, ...], declaration: Declaration) -> Array:
    """A sensor at rest: each feature keeps one value over batch and time."""
    return np.broadcast_to(rng.standard_normal(shape[-1:]), shape)


def _ramp(rng: np.random.Generator, shape: tuple[int, ...], declaration: Declaration) -> Array:
    """Every feature moves from -1 to 1 along the second axis (time), each with a slope of its own."""
    if len(shape) < 2:
        return np.linspace(-1.0, 1.0, shape[0]) if shape else np.ones(())
    steps = np.linspace(-1.0, 1.0, shape[1]).reshape(-1, *[1] * (len(shape) - 2))
    return np.broadcast_to(steps * rng.standard_normal(shape[-1:]), shape)


def _raw(rng: np.random.Generator, shape: tuple[int, ...], declaration: Declaration) -> Array:
    """Each feature in its own unit, 1e5 to 1e7: scores of attention reach 1e10, and one key takes all."""
    low, high = np.log10(RAW)
    return rng.standard_normal(shape) * 10.0 ** rng.uniform(low, high, shape[-1:])


def _impulse(rng: np.random.Generator, shape: tuple[int, ...], declaration: Declaration) -> Array:
    """Sensors at an offset with a little noise, which leave it for a frame at each edge of what is attended."""
    values = OFFSET * rng.standard_normal(shape[-1:]) + rng.standard_normal(shape)
    if len(shape) > 1 and shape[1]:
        frames = edges(declaration, shape[1])
        values[:, frames] += SPIKE * rng.choice([-1.0, 1.0], shape[-1:] if len(shape) > 2 else len(frames))
    return values


def _peaked(rng: np.random.Generator, shape: tuple[int, ...], declaration: Declaration) -> Array:
    """Frames that hold one of a few patterns, far apart: a query's whole weight falls on keys that are all alike."""
    patterns = PEAK * rng.standard_normal((PATTERNS, *shape[2:]))
    return np.asarray(patterns[rng.integers(PATTERNS, size=shape[:2])])


def edges(declaration: Declaration, length: int) -> list[int]:
    """The first and the last frame, and the frames on both sides of where the last one's window or block begins."""
    block = int(declaration.options.get("block_size") or 0)
    last_block = (length - 1) % block + 1 if block else 0
    reach = declaration.window or last_block or declaration.horizon or length // 2
    begins = length - reach
    return sorted({0, length - 1, *(t for t in (begins - 1, begins) if 0 <= t < length)})


DISTRIBUTIONS: dict[str, Fill] = {
    "normal": _normal,
    "large": lambda *given: 100.0 * _normal(*given),
    "tiny": lambda *given: 1e-6 * _normal(*given),
    "constant": _constant,
    "ramp": _ramp,
    "raw": _raw,
    "impulse": _impulse,
    "peaked": _peaked,
}


def _sizes(declaration: Declaration, turn: int) -> dict[str, int]:
    """Turn 0 is the example's size; each further turn takes another one on every open axis."""
    sizes = {}
    for place, axis in enumerate(declaration.axes.values()):
        unlike = UNLIKE["batch" if axis.name == "batch" else "other"]
        # axes start at different places, so that query and memory lengths differ from each other
        wanted = axis.opt if turn == 0 else unlike[(turn - 1 + place) % len(unlike)]
        sizes[axis.name] = _clip(axis, wanted)
    return sizes


def _longest(declaration: Declaration) -> dict[str, int]:
    return {a.name: a.min if a.name == "batch" else a.max for a in declaration.axes.values()}


def _clip(axis: Axis, size: int) -> int:
    return min(max(size, axis.min), axis.max)
