"""Every architecture can be traced to ONNX once baked: batch stays symbolic, and nothing computes a mask."""

import contextlib
import io
import logging
import warnings
from collections import Counter

import pytest
import torch

from temport import graphs
from temport.exporter.trace.torch_to_onnx import translations
from temport.graphs.registry import ARCHITECTURES

MASK_ARITHMETIC = {"Range", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Trilu", "CumSum", "EyeLike"}
POSITION_ARITHMETIC = {"Sin", "Cos", "Pow"}


def trace(model, architecture, config, symbolic):
    """ONNX program with the named axes symbolic."""
    sizes = {"batch": 2, "seq": 20, "memory": 9}
    dims = {axis: torch.export.Dim(axis, min=1, max=64) for axis in symbolic}
    tensors, shapes = [], []
    for spec in architecture.inputs(config):
        shape = [sizes.get(axis, axis) for axis in spec.axes]
        tensors.append(torch.ones(shape, dtype=torch.bool) if spec.dtype == "bool" else torch.randn(shape))
        shapes.append({i: dims[axis] for i, axis in enumerate(spec.axes) if axis in dims})
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        return torch.onnx.export(
            model,
            tuple(tensors),
            dynamo=True,
            opset_version=20,
            dynamic_shapes=tuple(shapes),
            custom_translation_table=translations(),
            verbose=False,
        )


CASES = [
    ("sliding_window", {}, ("batch",)),
    ("sliding_window", {}, ("batch", "seq")),
    ("hybrid", {}, ("batch", "seq")),
    ("hybrid", {"lstm_layers": 1}, ("batch", "seq")),  # a second trace: tracing of LSTMs has kept state
    ("mega", {}, ("batch",)),
    ("mega", {"laplace_attention": True}, ("batch", "seq")),
    ("mega", {"attention_kernel": "l1"}, ("batch",)),
    ("lightning", {}, ("batch", "seq")),
    ("dms", {}, ("batch", "seq", "memory")),
    ("dms", {"masked": False}, ("batch",)),
]
EXPECTED = {
    "sliding_window": {"OnlineSoftmaxAttention": 2},
    "hybrid": {"OnlineSoftmaxAttention": 1},
    "lightning": {"BlockLinearAttention": 2},
    "dms": {"OnlineSoftmaxAttention": 1},
    "mega": {"Conv": 4},
}


@pytest.mark.parametrize("name, more, symbolic", CASES, ids=lambda v: v if isinstance(v, str) else None)
def test_trace(name, more, symbolic, small):
    architecture = ARCHITECTURES[name]
    config = architecture.config(**{**small[name], **more})
    model = architecture.build(config).eval()
    graphs.bake(model, 64 if "seq" in symbolic else 20)
    graph = trace(model, architecture, config, symbolic).model.graph
    count = Counter(node.op_type for node in graph)
    assert not (MASK_ARITHMETIC | POSITION_ARITHMETIC) & set(count)
    # an Exp that is left is the Laplace function's tail, one per block; a decay's would be another
    assert count["Exp"] == (config.num_layers if getattr(config, "laplace_attention", False) else 0)
    assert {op: count[op] for op in EXPECTED[name]} == EXPECTED[name]
    assert count["LSTM"] == getattr(config, "lstm_layers", 0)
    for value, spec in zip(graph.inputs, architecture.inputs(config), strict=True):
        for dim, axis in zip(value.shape, spec.axes, strict=True):
            assert isinstance(dim, int) == (axis not in symbolic)


def test_an_unbaked_trace_computes_its_positions(small):
    """What baking is for: without it the check above fails."""
    architecture = ARCHITECTURES["sliding_window"]
    config = architecture.config(**small["sliding_window"])
    graph = trace(architecture.build(config).eval(), architecture, config, ("batch", "seq")).model.graph
    assert {"Range", "Sin"} <= {node.op_type for node in graph}
