"""ONNX Runtime by its C interface, as `temport bench engine` calls it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from temport.exporter.bench.in_c import OnnxRuntime


def test_a_loop_in_c_feeds_a_state_that_stays_in_place(tmp_path: Path) -> None:
    """Each run adds to what the one before left."""
    values = {n: helper.make_tensor_value_info(n, TensorProto.FLOAT, [3]) for n in ("x", "s", "y", "t")}
    nodes = [helper.make_node("Add", ["x", "s"], ["t"]), helper.make_node("Neg", ["t"], ["y"])]
    graph = helper.make_graph(nodes, "sum", [values["x"], values["s"]], [values["y"], values["t"]])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    onnx.save(model, tmp_path / "model.onnx")
    feed = {"x": np.array([1, 2, 3], np.float32), "s": np.zeros(3, np.float32)}
    call = OnnxRuntime(tmp_path / "model.onnx").bound(feed, model, {"t": "s"})
    call.__dict__["repeat"](4)
    np.testing.assert_array_equal(call(), -5 * feed["x"])


def test_what_it_refuses_is_said(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(RuntimeError, match="protobuf"):
        OnnxRuntime(tmp_path / "model.onnx")
