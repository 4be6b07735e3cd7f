"""Elements in other places, or in the same under another shape."""

from __future__ import annotations

from temport.exporter.native.loops import nest
from temport.exporter.native.plan import Call, Form
from temport.exporter.native.sizes import ONE, product, strides


def alias(call: Call) -> None:
    call.plan.alias(call.node.outputs[0], call.input(0))


def transpose(call: Call) -> None:
    x, y = call.input(0), call.output()
    order = call.attribute("perm") or tuple(reversed(range(len(x.shape))))
    own = strides(x.shape)
    loops = nest(y.shape, [strides(y.shape), [own[axis] for axis in order]])
    step = loops.steps()[1]
    inner = (
        f"copy({loops.at(x.code, 1)}, {loops.inner}, {loops.at(y.code, 0)});"
        if step == ONE
        else f"copy_steps({loops.at(x.code, 1)}, {step}, {loops.inner}, {loops.at(y.code, 0)});"
    )
    call.line(*loops.around([inner]))


def gather(call: Call) -> None:
    x, picks, y = call.input(0), call.input(1), call.output()
    axis = call.attribute("axis", 0) % len(x.shape)
    before, size, after = product(x.shape[:axis]), x.shape[axis], product(x.shape[axis + 1 :])
    call.line(f"gather({x.code}, {before}, {size}, {after.code}, {picks.code}, {picks.elements}, {y.code});")


def concat(call: Call) -> None:
    y = call.output()
    axis = call.attribute("axis") % len(y.shape)
    before, row = product(y.shape[:axis]), product(y.shape[axis:])
    at = None
    for index in range(len(call.node.inputs)):
        x = call.input(index)
        width = product(x.shape[axis:])
        to = y.code if at is None else f"{y.code} + {at}"
        call.line(f"copy_rows({x.code}, {width}, {before}, {width}, {to}, {row});")
        at = f"{width}" if at is None else f"{at} + {width}"


FORMS: dict[str, Form] = {
    **dict.fromkeys(("Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"), alias),
    "Concat": concat,
    "Gather": gather,
    "Transpose": transpose,
}
