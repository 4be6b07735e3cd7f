"""What a module returns, seen by running it: outputs, their types, and which of their axes move with the inputs'."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from temport.exporter.declare.declaration import Axis, TensorSpec
from temport.exporter.declare.slow_path import slow_path
from temport.exporter.declare.values import INTEGERS, Values, integers, mask
from temport.exporter.errors import UserError, told

UNKNOWN = "?"
"""The name of an output's axis that moves with the inputs', no one knows how yet: the trace says it."""
ODD = (7, 11, 13, 5, 9)
OTHER = (2, 3, 5, 17, 19, 23)
Sizes = dict[str, int]
Shapes = list[tuple[int, ...]]


def output_specs(
    module: nn.Module,
    inputs: tuple[TensorSpec, ...],
    names: Sequence[str] = ("output",),
    *,
    ends: bool = False,
) -> tuple[TensorSpec, ...]:
    """The outputs of a module that returns a tensor or a tuple of them, called `names`.

    An axis that equals an open axis of the inputs at every size is that axis; one that moves otherwise is `UNKNOWN`.

    ends  also run at the least and the largest sizes, which a module of ours takes by construction

    UserError where the module does not run with the sizes that were asked for.
    """
    axes = {axis.name: axis for spec in inputs for axis in spec.axes()}
    sizes = _probes(axes, ends)
    first = run_or_refuse(module, inputs, sizes[0])
    probes = [_shapes(first)]
    probes += [_shapes(run_or_refuse(module, inputs, s, sizes[0])) for s in sizes[1:]]
    for fixed in _other_sizes(axes):
        try:
            shapes = _shapes(run(module, inputs, fixed))
        except Exception:  # a module made for one length says so in many ways, and its axes are numbers then
            break
        sizes.append(fixed)
        probes.append(shapes)
    moving = {n: a for n, a in axes.items() if len({s[n] for s in sizes}) > 1}
    return tuple(
        TensorSpec(name, str(tensor.dtype).removeprefix("torch."), _axes(place, probes, sizes, moving))
        for place, (name, tensor) in enumerate(zip(names, first, strict=True))
    )


def run(module: nn.Module, inputs: Sequence[TensorSpec], sizes: Sizes) -> tuple[Tensor, ...]:
    """What the module returns for drawn inputs of these sizes."""
    with torch.no_grad(), slow_path():
        result = module(*drawn(inputs, sizes))
    results: tuple[Any, ...] = result if isinstance(result, tuple) else (result,)
    if wrong := next((r for r in results if not isinstance(r, Tensor)), None):
        raise UserError(f"the module returns {type(wrong).__name__}; it has to return tensors")
    return results


def drawn(inputs: Sequence[TensorSpec], sizes: Sizes, seed: int = 0) -> tuple[Tensor, ...]:
    """One tensor per input, its values as the declaration says them; the same for the same seed."""
    rng = np.random.default_rng(seed)
    return tuple(_draw(rng, spec, sizes) for spec in inputs)


def _draw(rng: np.random.Generator, spec: TensorSpec, sizes: Sizes) -> Tensor:
    shape, values = spec.at(**sizes), spec.values or Values()
    if spec.dtype == "bool":
        return torch.from_numpy(mask(rng, shape, "all", values))
    if spec.dtype in INTEGERS:
        drawn = integers(rng, shape, *values.limits(spec.dtype, sizes))
        return torch.from_numpy(np.asarray(drawn, spec.dtype))
    low, high = values.limits(spec.dtype, sizes)
    return torch.from_numpy(np.asarray(np.clip(rng.standard_normal(shape), low, high))).to(
        getattr(torch, spec.dtype)
    )


def _probes(axes: dict[str, Axis], ends: bool) -> list[Sizes]:
    """The sizes that were asked for, odd ones, and both ends of what is open."""
    opt = {name: axis.opt for name, axis in axes.items()}
    if all(axis.static for axis in axes.values()):
        return [opt]
    odd = {
        name: _clip(axis, 3 if name == "batch" else ODD[i % len(ODD)])
        for i, (name, axis) in enumerate(axes.items())
    }
    probes = [opt, odd]
    if ends:
        probes.append({n: axis.min if n == "batch" else axis.max for n, axis in axes.items()})
        probes.append({n: axis.opt if n == "batch" else axis.min for n, axis in axes.items()})
    return [sizes for i, sizes in enumerate(probes) if sizes not in probes[:i]]


def _other_sizes(axes: dict[str, Axis]) -> list[Sizes]:
    """Sizes that a fixed axis does not have: where a module takes them, an output's axis is known for an input's."""
    if not any(axis.static for axis in axes.values()):
        return []
    primes = [OTHER[i % len(OTHER)] for i in range(len(axes))]
    return [
        {
            n: prime * factor if axis.static else _clip(axis, prime * factor)
            for prime, (n, axis) in zip(primes, axes.items(), strict=True)
        }
        for factor in (1, 7)
    ]


def _axes(
    place: int, probes: list[Shapes], sizes: list[Sizes], moving: dict[str, Axis]
) -> tuple[Axis | int, ...]:
    shapes = [shapes[place] for shapes in probes]
    if len({len(shape) for shape in shapes}) > 1:
        raise UserError(
            "the number of axes of an output depends on the sizes of the inputs; no graph has that"
        )
    return tuple(_axis([shape[i] for shape in shapes], sizes, moving) for i in range(len(shapes[0])))


def _axis(seen: list[int], sizes: list[Sizes], moving: dict[str, Axis]) -> Axis | int:
    if equal := next((a for n, a in moving.items() if [s[n] for s in sizes] == seen), None):
        return equal
    if len(set(seen)) == 1:
        return seen[0]
    fixed = {n: a.opt for n, a in moving.items() if a.static}
    at_fixed = {v for v, s in zip(seen, sizes, strict=True) if all(s[n] == size for n, size in fixed.items())}
    return seen[0] if len(at_fixed) == 1 else Axis(UNKNOWN, min(at_fixed), seen[0], max(at_fixed))


def _shapes(outputs: Sequence[Tensor]) -> Shapes:
    return [tuple(output.shape) for output in outputs]


def run_or_refuse(
    module: nn.Module, inputs: Sequence[TensorSpec], sizes: Sizes, asked: Sizes | None = None
) -> tuple[Tensor, ...]:
    """The outputs; UserError where the module fails, for the sizes asked for or for others of their ranges."""
    try:
        return run(module, inputs, sizes)
    except UserError:
        raise
    except Exception as error:
        failed = _in_words(sizes)
        if asked is None:
            way = "give --shape, --batch and --seq as it takes them"
        else:
            failed = f"{failed}, though it does with {_in_words(asked)}"
            way = "give ranges that it takes whole, such as --seq 8:60:200, or a fixed size"
        raise UserError(f"the module does not run with {failed}: {told(error)}; {way}") from error


def _in_words(sizes: Sizes) -> str:
    return ", ".join(f"{name} {size}" for name, size in sizes.items()) or "these inputs"


def _clip(axis: Axis, size: int) -> int:
    return min(max(size, axis.min), axis.max)
