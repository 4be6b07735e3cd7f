"""`--weights-dtype` for modules of a user: which weights it takes, in which types, how outputs are judged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
import torch
from onnx import numpy_helper
from safetensors.torch import load_file
from torch import nn

import temport
from temport.exporter.compress.sums import sums
from temport.exporter.declare.declaration import Declaration, TensorSpec
from temport.exporter.errors import UserError
from temport.exporter.runtimes.subject import Subject


class Choice(nn.Module):
    """Scores and their choice, or the choice alone, with a weight that float16 does not reach."""

    def __init__(self, scores: bool, largest: float) -> None:
        super().__init__()
        self.scores, self.layer = scores, nn.Linear(48, 32)
        with torch.no_grad():
            self.layer.weight[0, 0] = largest

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        y = self.layer(x)
        return (y, y.argmax(-1), y > 0) if self.scores else (y.argmax(-1),)


def chosen(out: Path, *, scores: bool, largest: float = 1.0, **asked: Any) -> temport.Exported:
    torch.manual_seed(0)
    inputs = {"x": torch.randn(64, 48)}
    return temport.export(
        Choice(scores, largest), inputs, out=out, runtimes=("onnxruntime_cpu",), weights_dtype="int4", **asked
    )


def test_a_limit_needs_outputs_of_floats_and_others_are_counted(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--max-loss bounds outputs of floats, and this model has none"):
        chosen(tmp_path / "a", scores=False, max_loss=1e-2)
    compression = chosen(tmp_path / "b", scores=True).report.compression
    assert compression is not None
    scores, choices = (
        [loss for loss in compression.losses if loss.output == name] for name in ("output_0", "output_1")
    )
    assert sum(loss.flipped or 0 for loss in choices) > 0 and all(loss.largest == 0 for loss in choices)
    assert [(a.flipped, a.agreement) for a in scores] == [(b.flipped, b.agreement) for b in choices]


def test_a_weight_is_stored_in_no_type_that_does_not_hold_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no mixture reaches --max-loss 1e-09"):  # int4, int8, float32
        chosen(tmp_path / "a", scores=True, largest=1e5, max_loss=1e-9)
    with pytest.raises(UserError, match=r"layer\.weight holds infinity or NaN"):
        chosen(tmp_path / "b", scores=True, largest=float("inf"))


def test_a_limit_is_no_share_of_infinity(tmp_path: Path) -> None:
    class Masked(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x).masked_fill(torch.arange(32) > 30, float("-inf"))

    with pytest.raises(
        UserError, match="output of the trained model holds NaN or infinity in the case normal"
    ):
        temport.export(
            Masked(48, 32),
            {"input": torch.randn(4, 48)},
            out=tmp_path / "b",
            weights_dtype="int8",
            max_loss=1e-2,
        )


class Tied(nn.Module):
    """A weight that is a table too, one written as an einsum, a recurrent layer, and one that is computed."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(48, 32) * 0.1)
        self.matrix = nn.Parameter(torch.randn(32, 48) * 0.1)
        self.gru = nn.GRU(48, 32, batch_first=True)
        self.scale = nn.Parameter(torch.randn(32, 32) * 0.1)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = torch.einsum("bsi,io->bso", self.table[ids], self.matrix)
        y, _ = self.gru(x)
        return (y @ (self.scale * 2)) @ self.table.t()


class Products(nn.Module):
    """Square weights, so that no shape tells the axis."""

    def __init__(self) -> None:
        super().__init__()
        self.right, self.left, self.turned = (nn.Parameter(torch.randn(32, 32)) for _ in range(3))
        self.dense, self.conv = nn.Linear(32, 32), nn.Conv1d(32, 32, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.dense(self.left @ (x @ self.right) @ self.turned.t())
        return self.conv(y.t()[None])


def test_the_axis_that_a_layer_sums_over_is_found() -> None:
    spec = TensorSpec("x", "float32", (32, 32))
    subject = Subject(Declaration("module", {}, (spec,), ()), None, Products())
    found = sums(subject, {"x": np.ones((32, 32), np.float32)})
    assert found == {"right": 0, "left": 1, "turned": 1, "dense.weight": 1, "conv.weight": 1}


def test_weights_of_a_users_own_module(tmp_path: Path) -> None:
    done = temport.export(
        Tied(),
        {"ids": torch.randint(48, (1, 9))},
        weights_dtype="int8",
        out=tmp_path / "b",
        runtimes=("onnxruntime_cpu",),
    )
    assert done.passed and done.report.compression is not None
    stored = {weight.name for weight in done.report.compression.weights}
    assert stored == {"table", "matrix", "gru.weight_ih_l0", "gru.weight_hh_l0"}
    assert any("keeps a weight in float32" in warning for warning in done.report.warnings)


class Computed(nn.Module):
    """Weights that the module computes of its own, and one that it does not, `last`."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.down, self.up = (
            nn.Parameter(torch.randn(*s) * 0.1) for s in ((48, 48), (48, 32), (32, 48))
        )
        self.queries, self.of_queries = nn.Parameter(torch.randn(32, 48)), nn.Parameter(torch.randn(48, 48))
        self.flat = nn.Parameter(torch.randn(48 * 48 + 48))
        self.back = nn.ConvTranspose1d(48, 48, 1)
        self.recurrent = nn.LSTM(48, 40, proj_size=32, batch_first=True)
        self.last = nn.Linear(32, 32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x @ (self.table + 0.5 * self.down @ self.up)
        x = torch.softmax(self.queries @ self.of_queries @ x.transpose(1, 2), -1) @ x
        x = nn.functional.linear(x, self.flat[: 48 * 48].view(48, 48), self.flat[48 * 48 :])
        x = self.back(x.transpose(1, 2)).transpose(1, 2)
        return self.last(self.recurrent(x)[0])  # type: ignore[no-any-return]


def test_factors_of_a_weight_that_is_computed_stay() -> None:
    """Of an LSTM with a projection the graph holds the product of two."""
    spec = TensorSpec("x", "float32", (1, 9, 48))
    subject = Subject(Declaration("module", {}, (spec,), ()), None, Computed())
    found = sums(subject, {"x": np.ones((1, 9, 48), np.float32)})
    assert list(found) == ["recurrent.weight_ih_l0", "recurrent.weight_hr_l0", "last.weight"]


class Shared(nn.Module):
    """Buffers in one memory: a weight and its transpose, one that is expanded."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.randn(64, 48) * 0.1)
        self.register_buffer("turned", self.weight.t())
        self.register_buffer("expanded", torch.randn(1, 48).expand(32, 48))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.turned @ self.weight @ self.expanded.t()


def test_weights_in_one_memory_are_rounded_each(tmp_path: Path) -> None:
    """The loss is that of the numbers that the bundle holds."""
    module = Shared()
    done = temport.export(
        module, {"x": torch.randn(3, 48)}, out=tmp_path / "b", runtimes=("openvino",), weights_dtype="int4"
    )
    assert done.passed and done.report.compression is not None
    assert [weight.dtype for weight in done.report.compression.weights] == ["int4"] * 3
    stored = {name: tensor.double() for name, tensor in load_file(done.path / "weights.safetensors").items()}
    with np.load(done.path / "vectors.npz") as vectors:
        x = torch.from_numpy(vectors["normal/input/x"]).double()
    right = module.double()(x)
    error = x @ stored["turned"] @ stored["weight"] @ stored["expanded"].t() - right
    loss = done.report.compression.losses[0]
    assert loss.largest == pytest.approx(float(error.abs().max() / right.abs().max()), rel=1e-6)


class Again(nn.Module):
    """One weight that two nodes read."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(48, 48)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(torch.relu(self.layer(x)))  # type: ignore[no-any-return]


def test_openvino_runs_a_weight_that_two_nodes_read(tmp_path: Path) -> None:
    asked: dict[str, Any] = {"weights_dtype": "int4", "runtimes": ("openvino",)}
    assert temport.export(Again(), {"x": torch.randn(3, 48)}, out=tmp_path / "b", **asked).passed


FILE = """
<ir_version: 10, opset_import: ["": 21]>
g (float[4, 48] x) => (float[4, 48] y) {
  held = Constant <value = float[0] {}> ()
  a = MatMul (x, held)
  same = Identity (right)
  b = MatMul (a, same)
  turned = Transpose <perm = [1, 0]> (left)
  c = MatMul (b, turned)
  sum = MatMul (down, up)
  d = MatMul (c, sum)
  y = Gemm <alpha = 0.3, beta = 0.7, transB = 1> (d, last, bias)
}
"""


def test_weights_of_a_file_are_found_behind_what_moves_them(tmp_path: Path) -> None:
    """A factor of a `Gemm` is not multiplied into one, and what other weights make is none."""
    model, random = onnx.parser.parse_model(FILE), np.random.default_rng(0)
    sizes = {
        "right": (48, 64),
        "left": (48, 64),
        "down": (48, 32),
        "up": (32, 48),
        "last": (48, 48),
        "bias": (48,),
    }
    drawn = {name: random.standard_normal(size).astype(np.float32) for name, size in sizes.items()}
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in drawn.items())
    constant = numpy_helper.from_array(random.standard_normal((48, 48)).astype(np.float32))
    model.graph.node[0].attribute[0].t.CopyFrom(constant)
    onnx.save(model, tmp_path / "model.onnx")
    done = temport.export(
        onnx=tmp_path / "model.onnx", out=tmp_path / "b", weights_dtype="int4", runtimes=("onnxruntime_cpu",)
    )
    assert done.passed and done.report.compression is not None
    assert {weight.name for weight in done.report.compression.weights} == {"held", "right", "left", "last"}
    written = onnx.load(done.path / "model.onnx").graph.initializer
    stored = [tensor for tensor in written if tensor.data_type == onnx.TensorProto.INT4]
    assert sum(int(np.prod(tensor.dims)) for tensor in stored) == 2 * 48 * 48 + 2 * 48 * 64


class Convolutions(nn.Module):
    """One that is a dense layer, one of groups, one of a plane, and one with neighbours."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Conv1d(48, 64, 1)
        self.grouped = nn.Conv1d(64, 64, 1, groups=2)
        self.plane = nn.Conv2d(64, 64, 1)
        self.wide = nn.Conv1d(64, 32, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.wide(self.plane(self.grouped(self.dense(x))[..., None])[..., 0])  # type: ignore[no-any-return]


def test_what_is_rounded_is_stored_so(tmp_path: Path) -> None:
    module, names = Convolutions(), []
    for source in ({}, {"onnx": tmp_path / "plain" / "model.onnx"}):
        given = () if source else (module, {"x": torch.randn(2, 48, 9)})
        if not source:
            temport.export(*given, out=tmp_path / "plain", runtimes=("onnxruntime_cpu",), ops="standard")
        done = temport.export(
            *given,
            **source,
            out=tmp_path / f"b{len(names)}",
            weights_dtype="int8",
            runtimes=("onnxruntime_cpu",),
        )
        assert done.passed and done.report.compression is not None
        names.append([weight.name for weight in done.report.compression.weights])
        held = onnx.load(done.path / "model.onnx").graph.initializer
        assert [len(t.raw_data) for t in held if t.data_type == onnx.TensorProto.INT8] == [48 * 64]
    assert names[0] == ["dense.weight"] and len(names[1]) == 1
