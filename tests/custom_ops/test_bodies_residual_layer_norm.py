"""The bodies of ResidualLayerNorm say what its definition says, in runtimes that have nothing of ours."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from one_node import RUNTIMES, bound, error
from onnx import helper

from temport.custom_ops.op import Specialisation
from temport.custom_ops.table import OPS

OP = OPS["ResidualLayerNorm"]
NAMES = ("X", "Scale", "B", "R")


def drawn(leading: tuple[int, ...], given: int) -> list[np.ndarray | None]:
    random = np.random.default_rng(sum(leading))
    shapes = [(*leading, 5), (5,), (5,), (*leading, 5)]
    values = [random.standard_normal(shape).astype(np.float32) for shape in shapes]
    return [*values[:given], None][:4]


def model(inputs: list[np.ndarray | None], epsilon: float, opset: int) -> onnx.ModelProto:
    """One node with its body, any sizes of the axes before the last."""
    given = {name: x for name, x in zip(NAMES, inputs, strict=True) if x is not None}
    at = Specialisation(
        attributes={"epsilon": epsilon},
        query_length=None,
        key_length=None,
        opset=opset,
        given=frozenset(given),
    )
    infos = [
        helper.make_tensor_value_info(name, 1, [*(f"axis_{i}" for i in range(x.ndim - 1)), 5])
        for name, x in [*given.items(), ("Y", given["X"])]
    ]
    node = helper.make_node(OP.name, [*given], ["Y"], domain="temport", epsilon=epsilon)
    return helper.make_model(
        helper.make_graph([node], "one_node", infos[:-1], infos[-1:]),
        opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid("temport", 1)],
        functions=[OP.body(at).function],
        ir_version=10,
    )


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("given", [3, 4])
@pytest.mark.parametrize("opset", [18, 20])
def test_body_is_the_definition(opset: int, given: int, runtime: str) -> None:
    for epsilon in (1e-5, 0.5):  # the second shows: it is not the operator's default
        for shapes in ([(1,), (7,)], [(2, 3), (1, 5)]):
            proto = model(drawn(shapes[0], given), epsilon, opset)
            onnx.checker.check_model(proto, full_check=True)
            for leading in shapes:
                truth = OP.reference(inputs := drawn(leading, given), {"epsilon": epsilon})
                y = RUNTIMES[runtime](proto, inputs)
                assert y.shape == truth.shape
                assert error(y, truth) <= bound(truth, truth.astype(np.float32), "float32")


def test_wrong_shapes_are_refused() -> None:
    for index, name in enumerate(NAMES[1:], start=1):
        inputs = drawn((2,), 4)
        inputs[index] = np.zeros((1, 5), np.float32)
        with pytest.raises(ValueError, match=rf"ResidualLayerNorm: {name} has shape \[1, 5\]; it must be \["):
            OP.reference(inputs, {"epsilon": 1e-5})
    with pytest.raises(ValueError, match=r"X must be \[\.\.\., width\]"):
        OP.reference([np.float32(1), *drawn((2,), 3)[1:3]], {})
