"""Integer quotients and rows by index: one ONNX operator each, exact, and what torch's exporter says for the rest."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch

from temport.exporter.declare.declaration import Axis, Declaration, TensorSpec
from temport.exporter.trace.torch_to_onnx import to_onnx

BEYOND = 2**24 + 1
"""The first integer that float32 does not hold."""
N = np.array([[0, 7, BEYOND, 2**53 + 1], [-1, -7, -BEYOND, 3]], np.int64)
ROWS = np.array([[0, 4, -1, 2], [-5, 1, 1, 3]], np.int64)
TABLE = torch.randn(5, 3, 2, generator=torch.Generator().manual_seed(0))


class Of(torch.nn.Module):
    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


def compare(function: Callable[[Any], Any], x: np.ndarray, batch: int = 1) -> list[str]:
    """The operators of the export, whose result must be torch's."""
    axis = Axis("batch", batch, 2, 9)
    spec = TensorSpec("x", str(x.dtype), (axis, *x.shape[1:]))
    declaration = Declaration("module", {}, (spec,), (TensorSpec("output", "float32", spec.shape),))
    model = ir.to_proto(to_onnx(Of(function).eval(), declaration))
    (got,) = ort.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    truth = function(torch.from_numpy(x)).numpy()
    assert got.dtype == truth.dtype
    np.testing.assert_array_equal(got, truth)
    return [node.op_type for node in model.graph.node]


def quotient(by: Any, mode: str | None) -> Callable[[Any], Any]:
    return lambda x: torch.div(x, by, rounding_mode=mode)


@pytest.mark.parametrize("by", [3, -2, torch.tensor([1, 2, 3, -5])], ids=str)
def test_integers_that_truncate(by: Any) -> None:
    assert compare(quotient(torch.as_tensor(by), "trunc"), N) == ["Div"]


@pytest.mark.parametrize("mode", ["floor", "trunc"])
def test_floating_point_stays_with_torch(mode: str) -> None:
    x = np.array([[0.5, -7.25, 1e9, -3.0]] * 2, np.float32)
    assert "Div" in compare(quotient(torch.tensor(2.0), mode), x)


def test_integers_rounded_down_stay_with_torch() -> None:
    compare(quotient(torch.tensor(3), "floor"), np.array([[5, -5, 6, 0]] * 2, np.int64))


def test_rows_by_index() -> None:
    """Along the first axis, negative ones counted from the end."""
    assert compare(lambda i: TABLE[i], ROWS) == ["Gather"]
    assert compare(lambda i: TABLE[i, :, :], ROWS) == ["Gather"]


def test_other_ways_to_index() -> None:
    compare(lambda i: TABLE[:, i.clamp(0, 2)], ROWS)
    compare(lambda i: TABLE[i, i.clamp(0, 2)], ROWS)
    compare(lambda i: TABLE[torch.tensor([True, False, True, True, False])] + i.sum(), ROWS)
