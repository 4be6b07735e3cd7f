"""`--weights-dtype` for modules of a user: which weights it takes, in which types, how outputs are judged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
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
        return (y, y.argmax(-1)) if self.scores else (y.argmax(-1),)


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
