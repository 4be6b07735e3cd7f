"""What every body must hold: baked masks that are their predicate, and no operator that computes one."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from temport.custom_ops.op import Body

COMPUTES_MASKS = {
    "Range",
    "Less",
    "LessOrEqual",
    "Greater",
    "GreaterOrEqual",
    "Equal",
    "Trilu",
    "EyeLike",
    "Mod",
    "Not",
}


def boolean_constants(function: onnx.FunctionProto) -> dict[str, np.ndarray]:
    constants = {
        node.output[0]: numpy_helper.to_array(node.attribute[0].t)
        for node in function.node
        if node.op_type == "Constant"
    }
    return {name: x for name, x in constants.items() if x.dtype == np.bool_}


def wrong_masks(body: Body) -> list[str]:
    """Names of boolean constants that are not, bit for bit, the table of their declared rule."""
    constants = boolean_constants(body.function)
    missing = [name for name in body.masks if name not in constants]
    wrong = [
        name
        for name, array in constants.items()
        if name not in body.masks
        or not name.startswith("mask_")
        or not np.array_equal(array, body.masks[name][0].array(*body.masks[name][1:]))
    ]
    return missing + wrong


def computing_nodes(body: Body) -> list[str]:
    return [node.op_type for node in body.function.node if node.op_type in COMPUTES_MASKS]


def shift_masks(body: Body) -> Body:
    """The same body with every mask moved by one key: the classic window off by one."""
    function = onnx.FunctionProto()
    function.CopyFrom(body.function)
    for node in function.node:
        if node.op_type == "Constant" and node.output[0] in body.masks:
            array = numpy_helper.to_array(node.attribute[0].t)
            node.attribute[0].t.CopyFrom(numpy_helper.from_array(np.roll(array, -1, axis=1)))
    return Body(function, body.form, body.masks)
