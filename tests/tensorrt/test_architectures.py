"""Every architecture becomes an engine: its masks baked, its attention fused wherever the type allows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest

from temport.exporter.build import save
from temport.exporter.compilers.compile import compile_model
from temport.exporter.compilers.contract import EngineReport
from temport.exporter.declare.architectures import declare
from temport.exporter.graph.attention import Attention
from tests.small_models import FEW, FIXED, OPEN, SMALL
from tests.tensorrt.test_precision import SEQ, SETTINGS, models
from tests.traces import build

ATTENTION = {"sliding_window": 2, "hybrid": 1, "mega": 1, "lightning": 1, "dms": 1}
"""Attention nodes of each test configuration."""


def outcomes(report: EngineReport) -> list[str]:
    return [entry["outcome"] for entry in report.attention]


@pytest.mark.parametrize(
    ("arch", "precision"),
    [
        *((arch, "float16") for arch in SETTINGS),
        *(
            pytest.param(arch, "bfloat16", marks=() if arch == "sliding_window" else pytest.mark.thorough)
            for arch in SETTINGS
        ),
    ],
)
def test_half_types_are_fused(arch: str, precision: str, tmp_path: Path) -> None:
    declaration, _, _ = declare(arch, SETTINGS[arch], batch="2", seq=str(SEQ))
    onnx.save(models(arch, precision)[1], tmp_path / "model.onnx")
    report = compile_model("tensorrt-rtx", tmp_path / "model.onnx", declaration, tmp_path)
    assert outcomes(report) == ["fused"] * ATTENTION[arch]
    assert report.precision["Half" if precision == "float16" else "BFloat16"] > report.precision["Float"] / 4


@pytest.mark.parametrize(
    ("name", "axes"),
    [
        pytest.param(
            name,
            axes,
            marks=pytest.mark.thorough
            if axes is FIXED and name not in ("sliding_window", "dms-masked")
            else (),
            id=f"{name}-{'fixed' if axes is FIXED else 'open'}",
        )
        for name in FEW
        for axes in (FIXED, OPEN)
    ],
)
def test_exported_float32_model_becomes_an_engine(name: str, axes: dict[str, Any], tmp_path: Path) -> None:
    declaration, module = SMALL[name].declare(**axes)
    save(build(module, declaration), tmp_path / "model.onnx", external_data=False)
    report = compile_model("tensorrt-rtx", tmp_path / "model.onnx", declaration, tmp_path)
    assert set(report.precision) <= {"Float", "Bool", "Int32", "Int64"}
    shortest = (
        {} if axes is FIXED else {s.name: list(s.at(batch=1, seq=1, memory=1)) for s in declaration.inputs}
    )
    assert {name: shapes["min"] for name, shapes in report.profiles.items()} == shortest
    assert (tmp_path / report.file).stat().st_size == report.bytes


def test_one_head_over_the_source_of_its_keys_is_fused(tmp_path: Path) -> None:
    """Both blocks of mega, of which the first has many queries and no keys of its own."""
    settings = ("embed_dim=32", "hidden_size=32", "num_layers=2")
    declaration, module, _ = declare("mega", settings, batch="2", seq="20")
    built = build(module, replace(declaration, precision="float16"))
    first = next(n for n in built.model.graph if n.op_type == "OnlineSoftmaxAttention")
    assert not Attention.of(first).packed and first.inputs[1] is not first.inputs[2]
    save(built, tmp_path / "model.onnx", external_data=False)
    report = compile_model("tensorrt-rtx", tmp_path / "model.onnx", declaration, tmp_path)
    assert outcomes(report)[0] == "fused"
