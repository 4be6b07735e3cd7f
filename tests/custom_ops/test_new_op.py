"""An op of another kind than ours, with a torch op that is no attention: nothing but its own entry knows it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from onnx import defs, helper

from temport.custom_ops import node as read
from temport.custom_ops import schema as shared
from temport.custom_ops.op import Body, CustomOp, Host
from temport.custom_ops.plain_body import plain_body
from temport.custom_ops.table import OPS
from temport.exporter.build import build, save
from temport.exporter.declare.declaration import Axis, Declaration, TensorSpec

NAME = "Scaled"


def specialise(node: ir.Node, host: Host) -> tuple[int, int]:
    return read.attributes(node, SCHEMA)["times"], host.opset


def body(at: tuple[int, int]) -> Body:
    """`times` as a constant, so that there is one body for each."""
    times, opset = at
    nodes = [
        helper.make_node("Constant", [], ["factor"], value_float=float(times)),
        helper.make_node("Mul", ["X", "factor"], ["Y"]),
    ]
    return plain_body(SCHEMA, opset, nodes)


SCHEMA = defs.OpSchema(
    NAME,
    shared.DOMAIN,
    shared.VERSION,
    "Y = times X",
    inputs=[shared.parameter("X", "T", "any shape")],
    outputs=[shared.parameter("Y", "T", "X's shape")],
    type_constraints=[("T", shared.FLOAT_TYPES, "")],
    attributes=[shared.attribute_with_default("times", 1, "the factor")],
)
SCHEMA.set_type_and_shape_inference_function(
    lambda context: shared.infer_from_shapes(context, NAME, (None,), lambda x: [x])
)


@torch.library.custom_op("temport::scaled", mutates_args=())
def scaled(x: torch.Tensor, times: int) -> torch.Tensor:
    return x * times


@scaled.register_fake
def _(x: torch.Tensor, times: int) -> torch.Tensor:
    return torch.empty_like(x)


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    op = CustomOp(SCHEMA, lambda x, a: x[0] * a["times"], specialise, body, torch.ops.temport.scaled.default)
    monkeypatch.setitem(OPS, NAME, op)
    defs.register_schema(SCHEMA)
    yield
    defs.deregister_schema(NAME, shared.VERSION, shared.DOMAIN)


class Model(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return scaled(scaled(scaled(x, 3), 3), 5)


def test_it_exports_and_runs_as_its_body(tmp_path: Path) -> None:
    """Equal nodes share a body, another factor has its own."""
    frames = TensorSpec("x", "float32", (Axis("batch", 1, 2, 4), 7))
    declaration = Declaration("module", {}, (frames,), (TensorSpec("y", "float32", frames.shape),))
    save(build(Model().eval(), declaration), tmp_path / "model.onnx", external_data=False)
    written = onnx.load(tmp_path / "model.onnx")
    assert [n.op_type for n in written.graph.node].count(NAME) == 3 and len(written.functions) == 2
    x = np.random.default_rng(0).standard_normal((3, 7), dtype=np.float32)
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    np.testing.assert_allclose(session.run(None, {"x": x})[0], 45 * x, rtol=1e-6)
