"""Convolutions and pooling over one or two axes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from temport.exporter.native.blob import panels
from temport.exporter.native.call import Call, Form
from temport.exporter.native.sizes import ONE, Size, fixed, product
from temport.exporter.native.tensors import NoForm, Tensor

_FEW = 4
"""Outputs of a group for which a panel is not worth its emptiness."""
_BLOCK_ROWS = 96
"""`kBlockRows` of custom_ops/native/column_panels.h."""


@dataclass(frozen=True)
class _Windows:
    """`code` is the `Window` of custom_ops/engine/windows.h; `taps` and `tails` are of its axes."""

    code: str
    taps: tuple[int, ...]
    tails: tuple[int, ...]


def _windows(call: Call, of: Tensor, to: Tensor, taps: tuple[int, ...]) -> _Windows:
    """Along the spatial axes of `of`, whose entries the windows meet, where `to` has an entry for each place."""
    rank = len(of.shape) - 2
    if rank not in (1, 2):
        raise NoForm(f"it has {rank} spatial axes, and there is a form for 1 and 2")
    each = {name: tuple(call.attribute(name) or (1,) * rank) for name in ("strides", "dilations")}
    leads, tails = _pads(call, of, to, taps, each["strides"], each["dilations"])
    axes = [
        f"{{{', '.join(map(str, numbers))}}}"
        for numbers in zip(
            of.shape[2:], to.shape[2:], taps, each["strides"], each["dilations"], leads, strict=True
        )
    ]
    if rank == 1:
        axes.insert(0, "{1, 1, 1, 1, 1, 0}")
    return _Windows(f"Window{{{', '.join(axes)}}}", taps, tails)


def _pads(
    call: Call,
    of: Tensor,
    to: Tensor,
    taps: tuple[int, ...],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """In front of every spatial axis, and behind it."""
    rank, kind = len(taps), call.attribute("auto_pad", "NOTSET")
    if kind in ("NOTSET", ""):
        pads = tuple(call.attribute("pads") or (0,) * (2 * rank))
        return pads[:rank], pads[rank:]
    if kind == "VALID":
        return (0,) * rank, (0,) * rank
    both = []
    for size, places, tap, stride, dilation in zip(
        of.shape[2:], to.shape[2:], taps, strides, dilations, strict=True
    ):
        if stride > 1 and not size.fixed:
            raise NoForm(f"with {kind} and strides its padding depends on an open size")
        # with a stride of 1 there are as many places as entries
        both.append(max((tap - 1) * dilation + 1 + (places.most - 1) * stride - size.most, 0))
    less = tuple(pad // 2 for pad in both)
    more = tuple(pad - pad // 2 for pad in both)
    return (less, more) if kind == "SAME_UPPER" else (more, less)


def conv(call: Call) -> None:
    x, y, weight = call.input(0), call.output(), call.constant(1)
    groups = call.attribute("group", 1)
    total, channels, *taps = weight.shape
    outputs = total // groups
    bias = call.constant(2) if call.has(2) else np.zeros(total)
    windows = _windows(call, x, y, tuple(taps))
    inputs = channels * int(np.prod(taps))
    if outputs < _FEW:
        return call.line(
            f"convolve_few({x.code}, {x.shape[0]}, {groups}, {channels}, {outputs}, {windows.code}, "
            f"{call.weight(weight)}, {call.weight(bias)}, {y.code});"
        )
    columns = np.swapaxes(weight.reshape(groups, outputs, inputs), 1, 2)
    packed, added = _packed(call, columns), _packed(call, bias.reshape(groups, 1, outputs))
    room = call.plan.room("float", fixed(min(_BLOCK_ROWS, product(y.shape[2:]).most) * inputs))
    call.line(
        f"convolve<{groups}, {inputs}, {outputs}>({x.code}, {x.shape[0]}, {channels}, {windows.code}, {packed}, "
        f"{added}, {room}, {y.code});"
    )


def conv_transpose(call: Call) -> None:
    x, y, weight = call.input(0), call.output(), call.constant(1)
    if call.attribute("output_shape") or call.attribute("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise NoForm("its padding follows from the shape of its output")
    groups = call.attribute("group", 1)
    total, outputs, *taps = weight.shape
    channels, count = total // groups, int(np.prod(taps))
    bias = call.constant(2) if call.has(2) else np.zeros(groups * outputs)
    windows = _windows(call, y, x, tuple(taps))
    packed = _packed(call, weight.reshape(groups, channels, outputs * count))
    room = call.plan.room("float", fixed(min(_BLOCK_ROWS, product(x.shape[2:]).most) * channels))
    call.line(
        f"convolve_transposed<{groups}, {channels}, {outputs}, {count}>({x.code}, {x.shape[0]}, {windows.code}, "
        f"{packed}, {call.weight(bias)}, {room}, {y.code});"
    )


def _packed(call: Call, weight: np.ndarray) -> str:
    return call.weight(panels(weight, call.plan.isa.panel))


def pool(call: Call) -> None:
    x, y = call.input(0), call.output()
    if call.wants(1):
        raise NoForm("it gives the places of what it picks")
    if x.type != "float":
        raise NoForm(f"of {x.type} it has no native form")
    windows = _windows(call, x, y, tuple(call.attribute("kernel_shape")))
    kind = {"AveragePool": "Means", "MaxPool": "Greatest"}[call.node.op_type]
    padded = "true" if call.attribute("count_include_pad", 0) else "false"
    tails = (0, *windows.tails)[-2:]
    call.line(
        f"pool<{kind}>({x.code}, {_images(x)}, {windows.code}, {padded}, {tails[0]}, {tails[1]}, {y.code});"
    )


def global_pool(call: Call) -> None:
    x, y = call.input(0), call.output()
    kind = {"GlobalAveragePool": "Means", "GlobalMaxPool": "Greatest"}[call.node.op_type]
    call.line(f"reduce<{kind}>({x.code}, {_images(x)}, {product(x.shape[2:]).code}, {ONE.code}, {y.code});")


def _images(x: Tensor) -> Size:
    return x.shape[0] * x.shape[1]


FORMS: dict[str, Form] = {
    "AveragePool": pool,
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "GlobalAveragePool": global_pool,
    "GlobalMaxPool": global_pool,
    "MaxPool": pool,
}
