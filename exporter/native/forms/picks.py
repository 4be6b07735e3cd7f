"""Entries that indices pick, and those that are picked by their values."""

from __future__ import annotations

import numpy as np

from temport.exporter.native.call import Call, Form
from temport.exporter.native.forms.ranks import axis_of, parted
from temport.exporter.native.loops import nest
from temport.exporter.native.sizes import ZERO, product, strides
from temport.exporter.native.tensors import NoForm, Tensor

_KINDS = {"none": "Put", "add": "Sums", "mul": "Products", "max": "Greatest", "min": "Least"}


def gather(call: Call) -> None:
    x, picks, y = call.input(0), call.input(1), call.output()
    before, size, after = parted(x.shape, axis_of(call, len(x.shape), 0))
    call.line(f"gather({x.code}, {before}, {size}, {after.code}, {picks.code}, {picks.elements}, {y.code});")


def gather_elements(call: Call) -> None:
    x, picks, y = call.input(0), call.input(1), call.output()
    axis = axis_of(call, len(x.shape), 0)
    own = strides(x.shape)
    beside = [ZERO if i == axis else stride for i, stride in enumerate(own)]
    loops = nest(picks.shape, [strides(picks.shape), beside])
    call.line(
        *loops.around(
            [
                f"gather_elements({loops.inner}, {loops.at(x.code, 1)}, {loops.steps()[1]}, {own[axis]}, "
                f"{x.shape[axis]}, {loops.at(picks.code, 0)}, {loops.at(y.code, 0)});"
            ]
        )
    )


def scatter_elements(call: Call) -> None:
    x, picks, updates, y = call.input(0), call.input(1), call.input(2), call.output()
    axis = axis_of(call, len(x.shape), 0)
    own = strides(y.shape)
    beside = [ZERO if i == axis else stride for i, stride in enumerate(own)]
    loops = nest(picks.shape, [strides(picks.shape), beside])
    call.line(f"copy({x.code}, {x.elements}, {y.code});")
    call.line(
        *loops.around(
            [
                f"scatter_elements<{_kind(call)}>({loops.inner}, {loops.at(y.code, 1)}, {loops.steps()[1]}, "
                f"{own[axis]}, {y.shape[axis]}, {loops.at(picks.code, 0)}, {loops.at(updates.code, 0)});"
            ]
        )
    )


def gather_nd(call: Call) -> None:
    x, picks, y = call.input(0), call.input(1), call.output()
    batches = call.attribute("batch_dims", 0)
    axes, slice_ = _axes(x, picks, batches)
    before, apart = product(x.shape[:batches]), product(x.shape[batches:])
    count = product(picks.shape[batches:-1])
    call.line(
        f"gather_slices({x.code}, {before}, {apart}, {axes}, {picks.code}, {count}, {slice_}, {y.code});"
    )


def scatter_nd(call: Call) -> None:
    x, picks, updates, y = call.input(0), call.input(1), call.input(2), call.output()
    axes, slice_ = _axes(x, picks, 0)
    call.line(
        f"copy({x.code}, {x.elements}, {y.code});",
        f"scatter_slices<{_kind(call)}>({y.code}, {axes}, {picks.code}, {product(picks.shape[:-1])}, {slice_}, "
        f"{updates.code});",
    )


def _axes(x: Tensor, picks: Tensor, first: int) -> tuple[str, str]:
    """The axes that tuples of indices pick from, `first` and those behind it, and how many elements a tuple picks."""
    if not picks.shape[-1].fixed:
        raise NoForm("how many axes its indices pick from is open")
    last = first + picks.shape[-1].most
    if last == first:
        raise NoForm("its indices are of no axis")
    sizes, apart = (", ".join(map(str, each[first:last])) for each in (x.shape, strides(x.shape)))
    return f"Axes<{last - first}>{{{{{sizes}}}, {{{apart}}}}}", str(product(x.shape[last:]))


def _kind(call: Call) -> str:
    return _KINDS[call.attribute("reduction", "none")]


def one_hot(call: Call) -> None:
    indices, values, y = call.input(0), call.input(2), call.output()
    before, depth, after = parted(y.shape, axis_of(call, len(y.shape)))
    call.line(f"one_hot({indices.code}, {before}, {depth}, {after}, {values.code}, {y.code});")


def top_k(call: Call) -> None:
    x = call.input(0)
    axis = axis_of(call, len(x.shape))
    before, size, after = parted(x.shape, axis)
    kept = call.plan.shape(call.node.outputs[0 if call.wants(0) else 1])[axis]
    values, indices = (call.output(i).code if call.wants(i) else "nullptr" for i in range(2))
    row, places = call.plan.room(x.type, kept), call.plan.room("int64_t", kept)
    if values == "nullptr":
        values = f"static_cast<{x.type}*>(nullptr)"
    call.line(
        f"top<{'true' if call.attribute('largest', 1) else 'false'}>({x.code}, {before}, {size}, {after}, {kept}, "
        f"{values}, {indices}, {row}, {places});"
    )


def arg(call: Call) -> None:
    x = call.input(0)
    _position(call, x, axis_of(call, len(x.shape), 0), call.output().code)


def _position(call: Call, x: Tensor, axis: int, to: str) -> None:
    before, size, after = parted(x.shape, axis)
    greatest = "false" if call.node.op_type == "ArgMin" else "true"
    last = "true" if call.attribute("select_last_index", 0) else "false"
    call.line(f"position<{greatest}, {last}>({x.code}, {before}, {size}, {after}, {to});")


def hardmax(call: Call) -> None:
    x, y = call.input(0), call.output()
    axis = axis_of(call, len(x.shape))
    before, size, after = parted(x.shape, axis)
    places = call.plan.room("int64_t", before * after)
    _position(call, x, axis, places)
    values = call.weight(np.array([0, 1]))
    call.line(f"one_hot({places}, {before}, {size}, {after}, {values}, {y.code});")


FORMS: dict[str, Form] = {
    "ArgMax": arg,
    "ArgMin": arg,
    "Gather": gather,
    "GatherElements": gather_elements,
    "GatherND": gather_nd,
    "Hardmax": hardmax,
    "OneHot": one_hot,
    "ScatterElements": scatter_elements,
    "ScatterND": scatter_nd,
    "TopK": top_k,
}
