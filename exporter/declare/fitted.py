"""Output axes of a model that can only be run: an expression of input axes that gives every size that was seen.

The expressions tried are `(a * n + b) // c`, `min` and `max` of an axis and a number, sums of axes, and an axis times
an expression of the others. One that fits what was seen at some sizes is believed when it also gives what is seen at
further ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

from torch import nn

from temport.exporter.declare.declaration import Axis, TensorSpec
from temport.exporter.declare.observe import UNKNOWN, Sizes, run
from temport.exporter.declare.sizes import names, normal, reach, size
from temport.exporter.errors import UserError

DIVISORS = 12
STEPS = 14
"""Consecutive sizes of each axis that are looked at: more than a divisor has remainders."""
FURTHER = (17, 23, 31, 50)
Sample = tuple[Sizes, int]


def fitted(
    module: nn.Module,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    told: Mapping[tuple[int, int], str],
) -> tuple[TensorSpec, ...]:
    """The outputs with each `UNKNOWN` axis as an expression.

    told  (output, place) -> an expression that the source itself states, tried first

    UserError where none gives the sizes that are seen.
    """
    if not any(axis.name == UNKNOWN for spec in outputs for axis in spec.axes()):
        return outputs
    axes = {axis.name: axis for spec in inputs for axis in spec.axes()}
    seen = [(sizes, [tuple(output.shape) for output in run(module, inputs, sizes)]) for sizes in _sizes(axes)]
    found = []
    for index, spec in enumerate(outputs):
        shape: list[Axis | int] = list(spec.shape)
        for place, axis in enumerate(spec.shape):
            if isinstance(axis, Axis) and axis.name == UNKNOWN:
                samples = [(sizes, shapes[index][place]) for sizes, shapes in seen]
                expression = fit(samples, told.get((index, place)))
                if expression is None:
                    raise UserError(
                        f"axis {place} of output {spec.name} moves with the inputs, from {axis.min} to {axis.max}, "
                        "and no expression of their axes gives it; fix the sizes that move it, or leave it out with "
                        "--drop-output"
                    )
                shape[place] = computed(expression, axes)
        found.append(TensorSpec(spec.name, spec.dtype, tuple(shape)))
    return tuple(found)


def computed(expression: str, axes: Mapping[str, Axis]) -> Axis:
    """The axis that an expression of other axes is, with what it can reach."""
    low, high = reach(expression, {name: (axis.min, axis.max) for name, axis in axes.items()})
    opt = size(expression, {name: axis.opt for name, axis in axes.items()})
    return Axis(expression, min(max(low, 0), opt), opt, max(high, opt, 1))


def fit(samples: Sequence[Sample], told: str | None = None) -> str | None:
    """The expression in its one spelling that gives the number of every sample; None where none is found."""
    candidate = told if told is not None and _gives(told, samples) else _fit(samples)
    return normal(candidate) if candidate is not None and _gives(candidate, samples) else None


def _fit(samples: Sequence[Sample]) -> str | None:
    at = {name: sorted({sizes[name] for sizes, _ in samples}) for name in samples[0][0]}
    moving = [name for name in at if _moves(name, samples)]
    if not moving:
        return str(samples[0][1])
    if len(moving) == 1:
        return _of_one(moving[0], [(sizes[moving[0]], number) for sizes, number in samples])
    for name in moving:
        if all(sizes[name] and number % sizes[name] == 0 for sizes, number in samples):
            rest = [(sizes, number // sizes[name]) for sizes, number in samples]
            if not _moves(name, rest) and (inner := _fit(rest)) is not None:
                return f"{name} * ({inner})"
    return _sum(moving, samples)


def _moves(name: str, samples: Sequence[Sample]) -> bool:
    """Whether two samples that differ in this axis alone have other numbers."""
    seen: dict[tuple[tuple[str, int], ...], set[int]] = {}
    for sizes, number in samples:
        others = tuple((other, size) for other, size in sizes.items() if other != name)
        seen.setdefault(others, set()).add(number)
    return any(len(numbers) > 1 for numbers in seen.values())


def _of_one(name: str, points: Sequence[tuple[int, int]]) -> str | None:
    points = sorted(set(points))
    (first, low), (last, high) = points[0], points[-1]
    forms = [*_quotients(name, points), f"min({_line({name: 1}, low - first)}, {high})"]
    forms.append(f"max({_line({name: 1}, high - last)}, {low})")
    return next((form for form in forms if _gives(form, [({name: n}, number) for n, number in points])), None)


def _quotients(name: str, points: Sequence[tuple[int, int]]) -> list[str]:
    """`(a * n + b) // c` through the points, the least divisor first."""
    (first, low), (last, high) = points[0], points[-1]
    found = []
    for c in range(1, DIVISORS + 1):
        near = (high - low) * c // (last - first)
        for a in (near, near + 1, near - 1):
            least = max(c * number - a * n for n, number in points)
            most = min(c * number - a * n + c - 1 for n, number in points)
            if a > 0 and least <= most:
                line = _line({name: a}, least)
                found.append(f"({line}) // {c}" if c > 1 else line)
    return found


def _sum(moving: Sequence[str], samples: Sequence[Sample]) -> str | None:
    """`a * m + b * n + c`, each factor from two samples that differ in its axis alone."""
    factors = {}
    for name in moving:
        slopes = {
            (y - x, sizes_y[name] - sizes_x[name])
            for (sizes_x, x), (sizes_y, y) in product(samples, repeat=2)
            if sizes_y[name] - sizes_x[name] == 1
            and all(sizes_x[o] == sizes_y[o] for o in sizes_x if o != name)
        }
        if len(slopes) != 1:
            return None
        factors[name] = next(iter(slopes))[0]
    sizes, number = samples[0]
    return _line(factors, number - sum(a * sizes[name] for name, a in factors.items()))


def _line(factors: Mapping[str, int], rest: int) -> str:
    terms = [name if a == 1 else f"{a} * {name}" for name, a in factors.items()]
    end = f" {'-' if rest < 0 else '+'} {abs(rest)}" if rest else ""
    return " + ".join(terms) + end


def _gives(expression: str, samples: Sequence[Sample]) -> bool:
    try:
        return names(expression) <= samples[0][0].keys() and all(
            size(expression, sizes) == number for sizes, number in samples
        )
    except (ValueError, ZeroDivisionError):
        return False


def _sizes(axes: Mapping[str, Axis]) -> list[Sizes]:
    """Each axis alone through consecutive and further sizes, from its least on, and all of them together."""
    opt = {name: axis.opt for name, axis in axes.items()}
    base = {name: min(axis.min + 2, axis.max) for name, axis in axes.items()}
    found = [base]
    for name, axis in axes.items():
        alone = {*range(axis.min, axis.min + STEPS), *FURTHER, axis.opt, axis.max}
        found += [base | {name: n} for n in sorted(alone) if axis.min <= n <= axis.max]
    for step in (1, 4, 9):
        found.append(
            {name: min(axis.min + step + place, axis.max) for place, (name, axis) in enumerate(axes.items())}
        )
    found.append(opt)
    return [sizes for place, sizes in enumerate(found) if sizes not in found[:place]]
