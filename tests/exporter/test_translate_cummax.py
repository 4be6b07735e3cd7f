"""Running maxima and minima of torch are a Scan; where they stand has no form."""

from __future__ import annotations

import onnx_ir as ir
import pytest
import torch
from torch import Tensor, nn

from temport.exporter.declare.live import input_specs
from temport.exporter.declare.modules import declare_live
from temport.exporter.errors import UserError
from temport.exporter.parity.graph_oracle import Float64Graph
from temport.exporter.trace.trace import trace


class Extremes(nn.Module):
    """Of floats along two axes, and of integers."""

    def forward(self, x: Tensor, n: Tensor) -> dict[str, Tensor]:
        return {
            "largest": torch.cummax(x, 1).values,
            "smallest": torch.cummin(x, -1).values,
            "numbers": torch.cummax(n, 1).values,
        }


class Where(nn.Module):
    """What has no form."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cummax(x, 1).indices


def traced(module: nn.Module, inputs: dict[str, Tensor]) -> ir.Model:
    axes = {name: {0: "batch", 1: "seq"} for name in inputs}
    declaration, called = declare_live(
        module, "here", input_specs(module, inputs, axes, {"seq": (1, 5, 20)}), (), ()
    )
    return trace(called, declaration).model


def test_running_extremes_are_those_of_torch() -> None:
    inputs = {"x": torch.randn(2, 9, 3), "n": torch.randint(-9, 9, (2, 9))}
    model = traced(Extremes(), inputs)
    assert [node.op_type for node in model.graph].count("Scan") == 3
    found = Float64Graph(ir.to_proto(model)).run({name: x.numpy() for name, x in inputs.items()})
    for name, right in Extremes()(*inputs.values()).items():
        assert (torch.from_numpy(found[name]).to(right.dtype) == right).all(), name


def test_where_they_stand_is_refused() -> None:
    with pytest.raises(UserError, match="reads where the running extremes stand"):
        traced(Where(), {"x": torch.randn(2, 9, 3)})
