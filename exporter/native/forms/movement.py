"""Elements in other places, or in the same under another shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from temport.exporter.native.call import Call, Form
from temport.exporter.native.forms.ranks import axis_of, parted
from temport.exporter.native.loops import broadcast, nest
from temport.exporter.native.sizes import ONE, ZERO, Size, fixed, product, strides


@dataclass(frozen=True)
class View:
    """A pointer, and how far apart the entries along each axis lie."""

    code: str
    strides: tuple[Size, ...]


def alias(call: Call) -> None:
    call.plan.alias(call.node.outputs[0], call.input(0))


def move(call: Call, shape: Sequence[Size], source: View, to: View) -> None:
    """Copies so many entries along each axis."""
    loops = nest(shape, [to.strides, source.strides])
    into, step = loops.steps()
    n, x, y = loops.inner, loops.at(source.code, 1), loops.at(to.code, 0)
    if (into, step) == (ONE, ONE):
        inner = f"copy({x}, {n}, {y});"
    elif (into, step) == (ONE, ZERO):
        inner = f"fill({y}, {n}, *({x}));"
    else:
        inner = f"copy_steps({x}, {step}, {n}, {y}, {into});"
    call.line(*loops.around([inner]))


def transpose(call: Call) -> None:
    x, y = call.input(0), call.output()
    order = call.attribute("perm") or tuple(reversed(range(len(x.shape))))
    own = strides(x.shape)
    move(call, y.shape, View(x.code, tuple(own[axis] for axis in order)), View(y.code, strides(y.shape)))


def expand(call: Call) -> None:
    x, y = call.input(0), call.output()
    move(call, y.shape, View(x.code, broadcast(x.shape, y.shape)), View(y.code, strides(y.shape)))


def tile(call: Call) -> None:
    x, y = call.input(0), call.output()
    shape: list[Size] = []
    of_x: list[Size] = []
    of_y: list[Size] = []
    for axis, (size, stride, into) in enumerate(
        zip(x.shape, strides(x.shape), strides(y.shape), strict=True)
    ):
        repeats = y.shape[axis] if size == ONE else fixed(int(call.constant(1)[axis]))
        shape += [repeats, size]
        of_x += [ZERO, stride]
        of_y += [into * size, into]
    move(call, shape, View(x.code, tuple(of_x)), View(y.code, tuple(of_y)))


def concat(call: Call) -> None:
    y = call.output()
    axis = axis_of(call, len(y.shape))
    _, row = product(y.shape[:axis]), product(y.shape[axis:])
    to = y.code
    for index in range(len(call.node.inputs)):
        x = call.input(index)
        before, width = product(x.shape[:axis]), product(x.shape[axis:])
        call.line(f"copy_rows({x.code}, {width}, {before}, {width}, {to}, {row});")
        to += f" + {width}"


def split(call: Call) -> None:
    x = call.input(0)
    axis = axis_of(call, len(x.shape), 0)
    row, source, after = product(x.shape[axis:]), x.code, product(x.shape[axis + 1 :])
    for index, value in enumerate(call.node.outputs):
        # an output that nobody asks for may have no shape
        size = fixed(int(call.constant(1)[index])) if call.is_constant(1) else call.plan.shape(value)[axis]
        width = size * after
        if call.wants(index):
            to, before = call.output(index).code, product(x.shape[:axis])
            call.line(f"copy_rows({source}, {row}, {before}, {width}, {to}, {width});")
        source += f" + {width}"


def slice_(call: Call) -> None:
    x, y = call.input(0), call.output()
    rank = len(x.shape)
    starts = call.input(1)
    count = starts.elements.most
    axes = [int(axis) % rank for axis in call.constant(3)] if call.has(3) else range(count)
    steps = [int(step) for step in call.constant(4)] if call.has(4) else [1] * count
    source, own = x.code, list(strides(x.shape))
    for i, (axis, step) in enumerate(zip(axes, steps, strict=True)):
        start = f"{starts.code}[{i}]" if starts.value is None else str(int(starts.value[i]))
        if start != "0" or step < 0:
            source += f" + slice_start({start}, {x.shape[axis]}, {step}) * ({own[axis]})"
        own[axis] = own[axis] * Size(step, (), step)
    move(call, y.shape, View(source, tuple(own)), View(y.code, strides(y.shape)))


def depth_to_space(call: Call) -> None:
    x, y = call.input(0), call.output()
    block = fixed(call.attribute("blocksize"))
    batch, channel, row, column = strides(x.shape)
    _, channels, _, _ = y.shape
    if call.attribute("mode", "DCR") == "DCR":
        of_x = (batch, channel, row, channel * channels * block, column, channel * channels)
    else:
        of_x = (batch, channel * block * block, row, channel * block, column, channel)
    _, _, height, width = x.shape
    to_batch, to_channel, to_row, to_column = strides(y.shape)
    of_y = (to_batch, to_channel, to_row * block, to_row, to_column * block, to_column)
    move(call, (y.shape[0], channels, height, block, width, block), View(x.code, of_x), View(y.code, of_y))


def space_to_depth(call: Call) -> None:
    x, y = call.input(0), call.output()
    block = fixed(call.attribute("blocksize"))
    batch, channel, row, column = strides(x.shape)
    to_batch, to_channel, to_row, to_column = strides(y.shape)
    channels = x.shape[1]
    of_x = (batch, row, column, channel, row * block, column * block)
    of_y = (to_batch, to_channel * channels * block, to_channel * channels, to_channel, to_row, to_column)
    move(
        call,
        (x.shape[0], block, block, channels, *y.shape[2:]),
        View(x.code, of_x),
        View(y.code, of_y),
    )


_EDGES = {"constant": "kConstant", "edge": "kEdge", "reflect": "kReflect", "wrap": "kWrap"}


def pad(call: Call) -> None:
    """One padded axis after the other, from the last: what is copied then is the least."""
    x, y = call.input(0), call.output()
    rank = len(x.shape)
    axes = [int(axis) % rank for axis in call.constant(3)] if call.has(3) else list(range(rank))
    amounts = [int(n) for n in call.constant(1)]
    leads = dict(zip(axes, amounts, strict=False))
    todo = sorted((a for a, n in leads.items() if n or amounts[axes.index(a) + len(axes)]), reverse=True)
    if not todo:
        return call.line(f"copy({x.code}, {x.elements}, {y.code});")
    value = f"*{call.pointer(2)}" if call.has(2) else f"{y.type}()"
    edge, source, shape = _EDGES[call.attribute("mode", "constant")], x.code, list(x.shape)
    for axis in todo:
        size, total = shape[axis], y.shape[axis]
        before, after = product(shape[:axis]), product(shape[axis + 1 :])
        shape[axis] = total
        to = y.code if axis == todo[-1] else call.plan.room(y.type, product(shape))
        call.line(
            f"pad<Edge::{edge}>({source}, {before}, {size}, {after}, {leads[axis]}, {total}, {value}, {to});"
        )
        source = to


def trilu(call: Call) -> None:
    x, y = call.input(0), call.output()
    k = "0" if not call.has(1) else f"*{call.pointer(1)}"
    upper = "true" if call.attribute("upper", 1) else "false"
    *leading, rows, columns = x.shape
    call.line(f"triangle<{upper}>({x.code}, {product(leading)}, {rows}, {columns}, {k}, {y.code});")


def cumsum(call: Call) -> None:
    x, y = call.input(0), call.output()
    before, size, after = parted(x.shape, int(call.constant(1).item()))
    flags = ", ".join("true" if call.attribute(name, 0) else "false" for name in ("exclusive", "reverse"))
    call.line(f"running_sums<{flags}>({x.code}, {before}, {size}, {after}, {y.code});")


def eye_like(call: Call) -> None:
    y = call.output()
    call.line(f"unit_matrix({y.shape[0]}, {y.shape[1]}, {call.attribute('k', 0)}, {y.code});")


def range_(call: Call) -> None:
    y = call.output()
    call.line(f"count_up({y.elements}, *{call.pointer(0)}, *{call.pointer(2)}, {y.code});")


def constant_of_shape(call: Call) -> None:
    y, given = call.output(), call.attribute("value")
    value = f"{y.type}()"
    if given is not None:
        value = f"*weight<{y.type}>({call.plan.blob.add(given.numpy())})"
    call.line(f"fill({y.code}, {y.elements}, {value});")


def shape(call: Call) -> None:
    sizes = call.input(0).shape[call.attribute("start", 0) : call.attribute("end")]
    y = call.output()
    call.line(*(f"{y.code}[{i}] = {size};" for i, size in enumerate(sizes)))


def size(call: Call) -> None:
    call.line(f"*{call.output().code} = {call.input(0).elements};")


FORMS: dict[str, Form] = {
    **dict.fromkeys(("Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"), alias),
    "Concat": concat,
    "ConstantOfShape": constant_of_shape,
    "CumSum": cumsum,
    "DepthToSpace": depth_to_space,
    "Expand": expand,
    "EyeLike": eye_like,
    "Pad": pad,
    "Range": range_,
    "Shape": shape,
    "Size": size,
    "Slice": slice_,
    "SpaceToDepth": space_to_depth,
    "Split": split,
    "Tile": tile,
    "Transpose": transpose,
    "Trilu": trilu,
}
