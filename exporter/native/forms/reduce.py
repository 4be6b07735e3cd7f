"""Sums and other reductions over axes."""

from __future__ import annotations

from collections.abc import Sequence

from temport.exporter.native.call import Call, Form
from temport.exporter.native.forms.elementwise import write
from temport.exporter.native.forms.movement import View, move
from temport.exporter.native.forms.ranks import axis_of, parted
from temport.exporter.native.sizes import ONE, product, strides
from temport.exporter.native.tensors import NoForm, Tensor

_KINDS = {
    "ReduceL1": "Magnitudes",
    "ReduceL2": "Lengths",
    "ReduceLogSum": "LogSums",
    "ReduceMax": "Greatest",
    "ReduceMean": "Means",
    "ReduceMin": "Least",
    "ReduceProd": "Products",
    "ReduceSum": "Sums",
    "ReduceSumSquare": "Squares",
}


def reduction(call: Call) -> None:
    x, y = call.input(0), call.output()
    if y.type != "float" and call.node.op_type in ("ReduceL2", "ReduceLogSum"):
        raise NoForm(f"of {x.type} it has no native form")
    reduce_to(call, _KINDS[call.node.op_type], x, _axes(call), y.code)


def log_sum_exp(call: Call) -> None:
    """log(sum of exp(x - m)) + m with the greatest entry m, or a finite number in the place of an infinite one."""
    x, y = call.input(0), call.output()
    axes = _axes(call)
    kept = tuple(ONE if axis in axes else size for axis, size in enumerate(x.shape))
    greatest = Tensor(call.plan.room("float", product(kept)), "float", kept)
    sums = Tensor(call.plan.room("float", product(kept)), "float", kept)
    powers = Tensor(call.plan.room("float", x.elements), "float", x.shape)
    reduce_to(call, "Greatest", x, axes, greatest.code)
    finite = "clip({}, broadcast(-3e38f), broadcast(3e38f))"
    write(call, f"exp(a - {finite.format('b')})", [x, greatest], powers, "map_vectors")
    reduce_to(call, "LogSums", powers, axes, sums.code)
    flat = Tensor(y.code, y.type, kept)
    write(call, f"a + {finite.format('b')}", [sums, greatest], flat, "map_vectors")


def _axes(call: Call) -> list[int]:
    rank = len(call.input(0).shape)
    given = call.constant(1).tolist() if call.has(1) else call.attribute("axes") or []
    if not given and call.attribute("noop_with_empty_axes", 0):
        raise NoForm("it has no axes")
    return sorted(int(axis) % rank for axis in given or range(rank))


def reduce_to(call: Call, kind: str, x: Tensor, axes: Sequence[int], to: str) -> None:
    """Writes the reduction of x over `axes`, which are sorted. Axes that do not lie next to each other are put together
    behind the others first.
    """
    if not axes:
        before, middle, after = ONE, ONE, ONE
    elif list(axes) == list(range(axes[0], axes[-1] + 1)):
        before, middle, after = parted(x.shape, axes[0], axes[-1] + 1)
    else:
        order = [*(axis for axis in range(len(x.shape)) if axis not in axes), *axes]
        shape, own = [tuple(each[axis] for axis in order) for each in (x.shape, strides(x.shape))]
        moved = call.plan.room(x.type, x.elements)
        move(call, shape, View(x.code, own), View(moved, strides(shape)))
        x = Tensor(moved, x.type, shape)
        before, middle, after = parted(shape, len(shape) - len(axes), len(shape))
    call.line(f"reduce<{kind}>({x.code}, {before}, {middle.code}, {after.code}, {to});")


def lp_normalization(call: Call) -> None:
    x, y = call.input(0), call.output()
    axis = axis_of(call, len(x.shape))
    kept = tuple(ONE if i == axis else size for i, size in enumerate(x.shape))
    norms = Tensor(call.plan.room("float", product(kept)), "float", kept)
    reduce_to(call, "Magnitudes" if call.attribute("p", 2) == 1 else "Lengths", x, [axis], norms.code)
    write(call, "select(b == 0.0f, Float(), a / b)", [x, norms], y, "map_vectors")


FORMS: dict[str, Form] = {
    **dict.fromkeys(_KINDS, reduction),
    "LpNormalization": lp_normalization,
    "ReduceLogSumExp": log_sum_exp,
}
