"""Cases of convolutions and pooling."""

from __future__ import annotations

import functools

import numpy as np
import torch

from tests.native_engine.engine_of_graphs import Case, case
from tests.native_engine.reduction_cases import floats

summed = functools.partial(case, wide=4)  # errors of many products beside a sum that may be small
GROUPED = floats(6, 2, 3)


def grouped(x: np.ndarray) -> np.ndarray:
    """What ONNX's evaluator cannot do."""
    weight = torch.from_numpy(GROUPED).double()
    return torch.nn.functional.conv_transpose1d(
        torch.from_numpy(x), weight, stride=3, output_padding=2, groups=2, dilation=2
    ).numpy()


CASES: list[Case] = [
    summed("Conv", ("b", 4, 20), floats(5, 4, 3), floats(5)),
    summed("Conv", ("b", 4, "m"), floats(7, 4, 3), outputs=[("b", 7, "m - 2")]),
    summed("Conv", ("b", 4, "m"), floats(7, 4, 3), floats(7), pads=[2, 0], outputs=[("b", 7, "m")]),
    summed("Conv", ("b", 4, 21), floats(20, 4, 3), floats(20), pads=[5, 4], dilations=[3], strides=[2]),
    summed("Conv", ("b", 4, 8), floats(33, 4, 8), floats(33)),  # one place that meets all
    summed("Conv", ("b", 3, 230), floats(4, 3, 5), auto_pad="SAME_UPPER"),
    summed("Conv", ("b", 3, 23), floats(4, 3, 4), auto_pad="SAME_LOWER", strides=[3]),
    summed("Conv", ("b", 6, 17), floats(12, 2, 3), floats(12), group=3, pads=[1, 1]),
    summed("Conv", ("b", 6, "m"), floats(6, 1, 3), floats(6), group=6, pads=[1, 1], outputs=[("b", 6, "m")]),
    summed(
        "Conv", ("b", 6, 19), floats(12, 1, 4), floats(12), group=6, pads=[3, 0], dilations=[2], strides=[3]
    ),
    summed("Conv", ("b", 6, 3), floats(6, 1, 9), group=6, pads=[4, 4]),
    summed(
        "Conv",
        ("b", 3, 9, 11),
        floats(5, 3, 3, 2),
        floats(5),
        pads=[1, 0, 2, 1],
        strides=[2, 1],
        dilations=[1, 2],
    ),
    summed(
        "Conv", ("b", 4, 7, "m"), floats(4, 1, 3, 3), group=4, pads=[1, 1, 1, 1], outputs=[("b", 4, 7, "m")]
    ),
    summed("Conv", ("b", 16, 5, 5), floats(16, 16, 1, 1), floats(16)),
    summed("ConvTranspose", ("b", 4, 6), floats(4, 3, 3), floats(3)),
    summed(
        "ConvTranspose", ("b", 4, "n"), floats(4, 5, 4), strides=[2], pads=[1, 1], outputs=[("b", 5, "2 * n")]
    ),
    summed(
        "ConvTranspose",
        ("b", 6, 7),
        GROUPED,
        group=2,
        strides=[3],
        output_padding=[2],
        dilations=[2],
        truth=grouped,
    ),
    summed("ConvTranspose", ("b", 3, 4, 5), floats(3, 2, 3, 2), floats(2), strides=[2, 3], pads=[1, 0, 0, 1]),
    *(
        case(op, ("b", 3, 20), kernel_shape=[4], strides=[3], pads=[1, 2], **more)
        for op, more in (("MaxPool", {}), ("AveragePool", {}), ("AveragePool", {"count_include_pad": 1}))
    ),
    *(
        case(op, ("b", 3, 7, 9), kernel_shape=[2, 3], strides=[2, 2], ceil_mode=1)
        for op in ("MaxPool", "AveragePool")
    ),
    *(case(op, ("b", 3, 7, 9), kernel_shape=[2, 3], dilations=[2, 3]) for op in ("MaxPool", "AveragePool")),
    case(
        "AveragePool",
        ("b", 2, 8),
        kernel_shape=[3],
        strides=[2],
        pads=[1, 1],
        ceil_mode=1,
        count_include_pad=1,
    ),
    case("MaxPool", ("b", 3, "m"), kernel_shape=[3], outputs=[("b", 3, "m - 2")]),
    case("GlobalAveragePool", ("b", 3, "m")),
    case("GlobalMaxPool", ("b", 3, "m"), truth=lambda x: x.max(axis=2, keepdims=True)),
    case("GlobalAveragePool", ("b", 3, 4, 5)),
]
