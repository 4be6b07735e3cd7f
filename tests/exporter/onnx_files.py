"""ONNX files as others make them: by hand, and by torch's exporters of several years."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

F = TensorProto.FLOAT
Info = tuple[str, int, list[int | str | None]]


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def graph(
    name: str,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[Info],
    outputs: Sequence[Info],
    **weights: np.ndarray,
) -> onnx.GraphProto:
    return helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info(*info) for info in inputs],
        [helper.make_tensor_value_info(*info) for info in outputs],
        [numpy_helper.from_array(np.asarray(array), weight) for weight, array in weights.items()],
    )


def model(
    opset: int,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[Info],
    outputs: Sequence[Info],
    *,
    functions: Sequence[onnx.FunctionProto] = (),
    domains: Sequence[str] = (),
    **weights: np.ndarray,
) -> onnx.ModelProto:
    return helper.make_model(
        graph("main", nodes, inputs, outputs, **weights),
        opset_imports=[helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)],
        functions=functions,
        ir_version=8 if opset < 21 else 10,
    )


def dense(opset: int = 17) -> onnx.ModelProto:
    """Gemm, an old Softmax over two axes at once, and a cut of every second frame."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"]),
        helper.make_node("Softmax", ["m"], ["s"], axis=1),
        helper.make_node("Slice", ["s", "from", "to", "along", "step"], ["y"]),
        helper.make_node("ReduceMean", ["s"], ["mean"], axes=[1], keepdims=0),
        helper.make_node("Gemm", ["mean", "u", "c"], ["z"], transB=1),
    ]
    ends = {n: np.array([v]) for n, v in (("from", 0), ("to", 2**40), ("along", 1), ("step", 2))}
    inputs: list[Info] = [("x", F, ["batch", "time", 4])]
    outputs: list[Info] = [("y", F, ["batch", None, 6]), ("z", F, ["batch", 3])]
    return model(opset, nodes, inputs, outputs, w=random(4, 6), u=random(3, 6), c=random(3), **ends)


def branches() -> onnx.ModelProto:
    """If, Loop and Scan, whose bodies read what stands outside."""
    then = graph("then", [helper.make_node("Squeeze", ["w1"], ["t"], axes=[0])], [], [("t", F, [3])])
    other = graph("other", [helper.make_node("Neg", ["w"], ["e"])], [], [("e", F, [3])])
    turn = graph(
        "turn",
        [helper.make_node("Add", ["acc", "chosen"], ["sum"]), helper.make_node("Tanh", ["sum"], ["next"]),
         helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Mul", ["next", "w"], ["row"])],
        [("i", TensorProto.INT64, []), ("go", TensorProto.BOOL, []), ("acc", F, ["batch", 3])],
        [("on", TensorProto.BOOL, []), ("next", F, ["batch", 3]), ("row", F, ["batch", 3])],
    )  # fmt: skip
    frame = graph(
        "frame",
        [helper.make_node("Add", ["state", "x_t"], ["both"]), helper.make_node("Tanh", ["both"], ["new"]),
         helper.make_node("Sub", ["new", "w"], ["y_t"])],
        [("state", F, ["batch", 3]), ("x_t", F, ["batch", 3])],
        [("new", F, ["batch", 3]), ("y_t", F, ["batch", 3])],
    )  # fmt: skip
    nodes = [
        helper.make_node("Unsqueeze", ["w"], ["w1"], axes=[0]),
        helper.make_node("ReduceSum", ["x"], ["total"], keepdims=0),
        helper.make_node("Greater", ["total", "zero"], ["positive"]),
        helper.make_node("If", ["positive"], ["chosen"], then_branch=then, else_branch=other),
        helper.make_node("ReduceMean", ["x"], ["m"], axes=[1], keepdims=0),
        helper.make_node("Loop", ["three", "", "m"], ["last", "rows"], body=turn),
        helper.make_node(
            "Scan", ["last", "x"], ["end", "y"], body=frame, num_scan_inputs=1, scan_input_axes=[1],
            scan_input_directions=[1], scan_output_axes=[1],
        ),
    ]  # fmt: skip
    return model(
        11,
        nodes,
        [("x", F, ["batch", "time", 3])],
        [("rows", F, [3, "batch", 3]), ("y", F, ["batch", "time", 3])],
        w=random(3),
        zero=np.float32(0),
        three=np.int64(3),
    )


def attention() -> onnx.ModelProto:
    """Attention of opset 23 behind a function of somebody else's domain."""
    gate = helper.make_function(
        "theirs", "Gate", ["a"], ["b"],
        [helper.make_node("Sigmoid", ["a"], ["s"]), helper.make_node("Mul", ["a", "s"], ["b"])],
        [helper.make_opsetid("", 23)],
    )  # fmt: skip
    nodes = [
        helper.make_node("Gate", ["x"], ["g"], domain="theirs"),
        *(helper.make_node("MatMul", ["g", name], [name[1]]) for name in ("wq", "wk", "wv")),
        helper.make_node("Attention", ["q", "k", "v"], ["y"], is_causal=1, q_num_heads=2, kv_num_heads=2),
    ]
    weights = {name: random(8, 8) + i for i, name in enumerate(("wq", "wk", "wv"))}
    io: tuple[list[Info], list[Info]] = ([("x", F, ["batch", "seq", 8])], [("y", F, ["batch", "seq", 8])])
    return model(23, nodes, *io, functions=[gate], domains=["theirs"], **weights)


def newer() -> onnx.ModelProto:
    """What came with opset 23 and 24 beside Attention: RMSNormalization, RotaryEmbedding by tables, Swish."""
    angles = np.arange(20)[:, None] * 0.5 ** np.arange(2)
    nodes = [
        helper.make_node("RMSNormalization", ["x", "scale"], ["n"], epsilon=1e-3),
        helper.make_node("MatMul", ["n", "w"], ["m"]),
        helper.make_node("RotaryEmbedding", ["m", "cos", "sin", "at"], ["r"], num_heads=2),
        helper.make_node("Swish", ["r"], ["y"], alpha=1.5),
    ]
    return model(
        24,
        nodes,
        [("x", F, ["batch", 7, 8]), ("at", TensorProto.INT64, ["batch", 7])],
        [("y", F, ["batch", 7, 8])],
        scale=random(8),
        w=random(8, 8),
        cos=np.cos(angles).astype(np.float32),
        sin=np.sin(angles).astype(np.float32),
    )


def ids(**given: Any) -> onnx.ModelProto:
    """Token ids in, logits and the best of them out; a recurrent layer in both directions."""
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["e"]),
        helper.make_node("Transpose", ["e"], ["frames"], perm=[1, 0, 2]),
        helper.make_node("GRU", ["frames", "w", "r", "b"], ["all", "h"], hidden_size=4,
                         direction="bidirectional", linear_before_reset=1),
        helper.make_node("ReduceSum", ["all", "one"], ["y"], keepdims=0),
        helper.make_node("ArgMax", ["h"], ["best"], axis=2, keepdims=0),
    ]  # fmt: skip
    return model(
        17,
        nodes,
        [("ids", TensorProto.INT64, ["N", None])],
        [("y", F, [None, "N", 4]), ("best", TensorProto.INT64, [2, "N"])],
        table=random(20, 5),
        w=random(2, 12, 5),
        r=random(2, 12, 4),
        b=random(2, 24),
        one=np.array([1]),
    )


def old_operators() -> onnx.ModelProto:
    """Softmaxes without an axis, a normalisation with given statistics, and integers in place of floats."""
    nodes = [
        *(helper.make_node(f"{name}max", ["x"], [name]) for name in ("Soft", "LogSoft", "Hard")),
        helper.make_node("Softmax", ["x"], ["first"], axis=0),
        helper.make_node("Softmax", ["x"], ["last"], axis=-1),
        helper.make_node("DequantizeLinear", ["q", "scale"], ["w"]),
        helper.make_node("QuantizeLinear", ["x", "step", "zero"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "step", "zero"], ["xd"]),
        helper.make_node("MatMul", ["xd", "w"], ["y"]),
        helper.make_node("BatchNormalization", ["x", "three", "three", "three", "three"], ["normal"]),
    ]
    shape = [2, 3, 4]
    names = ("Soft", "LogSoft", "Hard", "first", "last")
    return model(
        11,
        nodes,
        [("x", F, shape)],
        [*((name, F, shape) for name in names), ("y", F, shape), ("normal", F, shape)],
        three=np.float32([0.5, 1, 2]),
        q=np.arange(16, dtype=np.int8).reshape(4, 4) - 8,
        scale=np.float32(0.25),
        step=np.float32(0.5),
        zero=np.uint8(7),
    )


def recurrent(op: str, direction: str) -> onnx.ModelProto:
    """A layer over sequences of three lengths, from a state, with activations of its own."""
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[op]
    ways = 2 if direction == "bidirectional" else 1
    own = {"LSTM": ["Sigmoid", "Softsign", "Tanh"], "GRU": ["Sigmoid", "Relu"], "RNN": ["Softplus"]}[op]
    weights = {
        "w": random(ways, gates * 2, 4),
        "r": random(ways, gates * 2, 2),
        "b": random(ways, gates * 4),
        "lengths": np.array([5, 2, 4], np.int32),
        "h0": random(ways, 3, 2),
        **({"c0": random(ways, 3, 2), "peep": random(ways, 6)} if op == "LSTM" else {}),
    }
    results = ["y", "h", *(["c"] if op == "LSTM" else [])]
    node = helper.make_node(
        op, ["x", *weights], results, hidden_size=2, direction=direction, activations=own * ways
    )
    shapes: list[Info] = [("y", F, [5, ways, 3, 2]), ("h", F, [ways, 3, 2]), ("c", F, [ways, 3, 2])]
    return model(17, [node], [("x", F, [5, 3, 4])], shapes[: len(results)], **weights)


def half() -> onnx.ModelProto:
    """Weights, input and output in float16."""
    half = TensorProto.FLOAT16
    nodes = [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Softmax", ["m"], ["y"])]
    shape = ["batch", "seq", 8]
    return model(17, nodes, [("x", half, shape)], [("y", half, shape)], w=random(8, 8).astype(np.float16))


class Recurrent(nn.Module):
    """Convolution of every second frame, and an LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.dense, self.conv = nn.Linear(3, 4), nn.Conv1d(4, 4, 3, stride=2, padding=1)
        self.lstm = nn.LSTM(4, 4, batch_first=True)

    def forward(self, x):
        y = self.conv(torch.relu(self.dense(x)).transpose(1, 2)).transpose(1, 2)
        return self.lstm(y)[0].softmax(1)


def of_torch(path: Path) -> torch.Tensor:
    """A module through torch's older exporter; returns what the module gives for `x`, a ramp of 2 x 9 x 3."""
    torch.manual_seed(0)
    module, x = Recurrent().eval(), torch.linspace(-1, 1, 54).reshape(2, 9, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module, (x,), path, opset_version=11, dynamo=False, input_names=["x"], output_names=["y"],
            dynamic_axes={"x": {0: "batch", 1: "time"}, "y": {0: "batch"}},
        )  # fmt: skip
    return module(x).detach()


def written(tmp_path: Path, model: onnx.ModelProto) -> Path:
    """The model as a file."""
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path
