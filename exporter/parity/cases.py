"""Seeded input cases, generated from the declaration's tensor specs alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ml_dtypes  # noqa: F401  # numpy knows the name bfloat16 only once this is imported
import numpy as np
import numpy.typing as npt

from temport.exporter.declare.declaration import Axis, Declaration, TensorSpec
from temport.exporter.errors import UserError
from temport.exporter.runtimes.contract import Arrays

Array = npt.NDArray[Any]
Fill = Callable[[np.random.Generator, tuple[int, ...]], Array]

UNLIKE = {"batch": (3, 1, 5, 2), "other": (7, 1, 37, 61)}
"""Sizes tried on open axes besides the example's: small, odd, no multiple of any block."""
FLOATS = ("float16", "bfloat16", "float32", "float64")


@dataclass(frozen=True)
class Case:
    """Named inputs with the distribution (`kind`) they were drawn from."""

    name: str
    kind: str
    inputs: Arrays

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: array.shape for name, array in self.inputs.items()}


def default_cases(declaration: Declaration) -> tuple[Case, ...]:
    """One case per distribution; open axes take a different size in each, and their maximum in one more."""
    cases = [
        _case(declaration, kind, "random", _sizes(declaration, turn))
        for turn, kind in enumerate(DISTRIBUTIONS)
    ]
    if any(not axis.static for axis in declaration.axes.values() if axis.name != "batch"):
        cases.append(_case(declaration, "normal", "random", _longest(declaration)))
    if any(spec.dtype == "bool" for spec in declaration.inputs):
        cases += [
            _case(declaration, "normal", mask, _sizes(declaration, turn))
            for turn, mask in ((0, "all"), (1, "empty"))
        ]
    return tuple({case.name: case for case in cases}.values())


def _case(declaration: Declaration, kind: str, mask: str, sizes: dict[str, int]) -> Case:
    turn = list(DISTRIBUTIONS).index(kind)
    rng = np.random.default_rng([declaration.seed, turn, len(mask), *sizes.values()])
    inputs = {
        spec.name: _mask(rng, spec.at(**sizes), mask)
        if spec.dtype == "bool"
        else _values(rng, spec, kind, sizes)
        for spec in declaration.inputs
    }
    has_mask = any(spec.dtype == "bool" for spec in declaration.inputs)
    parts = [kind, *([f"mask-{mask}"] if has_mask else []), *(f"{n}{v}" for n, v in sizes.items())]
    return Case("-".join(parts), kind, inputs)


def _values(rng: np.random.Generator, spec: TensorSpec, kind: str, sizes: dict[str, int]) -> Array:
    if spec.dtype not in FLOATS:
        raise UserError(
            f"input {spec.name} is {spec.dtype}; cases can be generated for floating-point and bool inputs only"
        )
    return DISTRIBUTIONS[kind](rng, spec.at(**sizes)).astype(spec.dtype, order="C")


def _normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.standard_normal(shape)


def _constant(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """A sensor at rest: each feature keeps one value over batch and time."""
    return np.broadcast_to(rng.standard_normal(shape[-1:]), shape)


def _ramp(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Every feature moves from -1 to 1 along the second axis (time), each with a slope of its own."""
    if len(shape) < 2:
        return np.linspace(-1.0, 1.0, shape[0])
    steps = np.linspace(-1.0, 1.0, shape[1]).reshape(-1, *[1] * (len(shape) - 2))
    return np.broadcast_to(steps * rng.standard_normal(shape[-1:]), shape)


DISTRIBUTIONS: dict[str, Fill] = {
    "normal": _normal,
    "large": lambda rng, shape: 100.0 * _normal(rng, shape),
    "tiny": lambda rng, shape: 1e-6 * _normal(rng, shape),
    "constant": _constant,
    "ramp": _ramp,
}


def _mask(rng: np.random.Generator, shape: tuple[int, ...], kind: str) -> Array:
    """True = attend. `random` keeps two of three, `all` everything, `empty` nothing in the first batch entry."""
    if kind == "all":
        return np.ones(shape, bool)
    mask = rng.random(shape) < 2 / 3
    if kind == "empty":
        mask[0] = False
    return mask


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
