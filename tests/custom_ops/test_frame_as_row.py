"""The ops over a ring of cached frames take a frame as a row `[batch, 3*C]` too, and say the same."""

from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import helper, shape_inference

from temport.custom_ops.op import Specialisation
from temport.custom_ops.table import OPS

B, N, H, D = 3, 5, 2, 3
C = H * D
ATTRIBUTES: dict[str, dict[str, Any]] = {
    "CachedAttention": {"num_heads": H, "scale": 0.5},
    "CachedBlockLinearAttention": {
        "num_heads": H,
        "feature_map": "elu1",
        "normalizer": "key_sum",
        "eps": 1e-8,
    },
}


def draw(op: str) -> list[np.ndarray]:
    """float32 inputs, QKV as a row; one of the three streams has just filled its block."""
    random = np.random.default_rng(8)
    shapes = [(B, 3 * C), (B, N, C), (B, N, C)] + [(B, H, D, D + 1)] * (3 if "Linear" in op else 0)
    floats = [random.random(shape).astype(np.float32) for shape in shapes]
    return [*floats, np.array([[0], [N - 1], [10**12]], np.int64)]


def as_frames(inputs: list[np.ndarray]) -> list[np.ndarray]:
    return [inputs[0][:, None], *inputs[1:]]


@pytest.mark.parametrize("op", ATTRIBUTES)
def test_reference_and_torch(op: str) -> None:
    inputs, attributes = draw(op), ATTRIBUTES[op]

    def in_torch(values: list[np.ndarray], attributes: dict[str, Any]) -> list[np.ndarray]:
        outputs = OPS[op].torch_op(*map(torch.from_numpy, values), *attributes.values())
        return [x.numpy() for x in outputs]

    for compute in (OPS[op].reference, in_torch):
        y, *states = compute(inputs, attributes)
        whole, *same = compute(as_frames(inputs), attributes)
        assert y.shape == (B, C)
        np.testing.assert_array_equal(y, whole[:, 0])
        for state, expected in zip(states, same, strict=True):
            np.testing.assert_array_equal(state, expected)


@pytest.mark.parametrize("op", ATTRIBUTES)
def test_gradients_reach_the_row(op: str) -> None:
    values = [torch.from_numpy(x) for x in draw(op)]
    values[0] = values[0].double().requires_grad_()
    values[1:-1] = [x.double() for x in values[1:-1]]
    y, *_ = OPS[op].torch_op(*values, *ATTRIBUTES[op].values())
    row = values[0].detach()[:, None].requires_grad_()
    whole, *_ = OPS[op].torch_op(row, *values[1:], *ATTRIBUTES[op].values())
    (got,), (truth,) = (
        torch.autograd.grad(y.sin().sum(), values[0]),
        torch.autograd.grad(whole.sin().sum(), row),
    )
    torch.testing.assert_close(got, truth[:, 0], rtol=0, atol=0)


@pytest.mark.parametrize(("form", "opset"), [("dense", 18), ("attention", 23)])
@pytest.mark.parametrize("op", ATTRIBUTES)
def test_body(op: str, form: str, opset: int) -> None:
    """In ONNX Runtime against the float64 reference, with a batch that only the input knows."""
    inputs, schema = draw(op), OPS[op].schema
    at = Specialisation(
        attributes=ATTRIBUTES[op],
        query_length=1,
        key_length=N,
        key_width=C,
        query_rank=2,
        opset=opset,
        form=form,
    )
    names, outputs = [p.name for p in schema.inputs], [p.name for p in schema.outputs]
    kinds = [helper.np_dtype_to_tensor_dtype(x.dtype) for x in inputs]
    given = [
        helper.make_tensor_value_info(name, kind, ["batch", *x.shape[1:]])
        for name, kind, x in zip(names, kinds, inputs, strict=True)
    ]
    node = helper.make_node(op, names, outputs, domain="temport", **ATTRIBUTES[op])
    made = [helper.make_tensor_value_info(name, kinds[0], None) for name in outputs]
    graph = helper.make_graph([node], "one_node", given, made)
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("temport", 1)]
    body = OPS[op].body(at).function
    proto = helper.make_model(graph, opset_imports=opsets, functions=[body], ir_version=10)
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    results = session.run(outputs, dict(zip(names, inputs, strict=True)))
    truths = OPS[op].reference(inputs, ATTRIBUTES[op])
    for result, truth in zip(results, truths, strict=True):
        assert result.shape == truth.shape
        np.testing.assert_allclose(result, truth, rtol=0, atol=2e-6 * max(1.0, np.abs(truth).max()))


@pytest.mark.parametrize("op", ATTRIBUTES)
def test_inferred_shapes_and_refusals(op: str) -> None:
    inputs, schema = draw(op), OPS[op].schema
    names, outputs = [p.name for p in schema.inputs], [p.name for p in schema.outputs]

    def inferred(width: int) -> list[Any]:
        shapes = [("batch", width), *(("batch", *x.shape[1:]) for x in inputs[1:])]
        given = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(x.dtype), shape)
            for name, x, shape in zip(names, inputs, shapes, strict=True)
        ]
        node = helper.make_node(op, names, outputs, domain="temport", **ATTRIBUTES[op])
        made = [helper.make_tensor_value_info(name, 1, None) for name in outputs]
        opsets = [helper.make_opsetid("", 18), helper.make_opsetid("temport", 1)]
        proto = helper.make_model(helper.make_graph([node], "one_node", given, made), opset_imports=opsets)
        result = shape_inference.infer_shapes(proto, strict_mode=True).graph.output[0]
        return [d.dim_value or d.dim_param for d in result.type.tensor_type.shape.dim]

    assert inferred(3 * C) == ["batch", C]
    with pytest.raises(ValueError, match=rf"QKV has shape .*it must be \[.*, {3 * C}\]"):
        inferred(3 * C + 1)
