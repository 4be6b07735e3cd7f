"""`temport bench engines`: rows are what `engine.json` says, refusals stay visible, every combination is there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from temport.exporter.bench import engines
from temport.exporter.bench.engines import EngineCase, plan, run
from temport.exporter.errors import UserError
from temport.graphs.registry import ARCHITECTURES


def test_plan_is_every_combination() -> None:
    cases = plan()
    assert len(set(cases)) == len(cases) == len(ARCHITECTURES) * 2 * 2 * 2
    assert {case.precision for case in plan(streaming=True)} == {"fp32"}
    with pytest.raises(UserError, match="--precision fp8 is unknown; give fp32, fp16, bf16"):
        plan(precisions=["fp8"])
    of_weights = plan(weights=["int8", "int4"], batches=["1"])
    assert {(c.precision, c.weights) for c in of_weights} == {("fp32", "int8"), ("fp32", "int4")}
    for wrong, sentence in (
        ({"weights": ["int7"]}, "--weights-dtype int7 is unknown; give float32, fp16, int8, int4"),
        ({"arches": ["megga"]}, "unknown architecture 'megga'"),
        ({"lengths": [0]}, "--seq '0' begins at 0"),
        ({"batches": ["many"]}, "--batch 'many' is not understood"),
    ):
        with pytest.raises(UserError, match=sentence):
            plan(**wrong)


def test_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reports = []
    compile_model = engines.compile_model

    def recorded(*arguments: object) -> object:
        reports.append(compile_model(*arguments))  # type: ignore[arg-type]  # passed on as they came
        return reports[-1]

    monkeypatch.setattr(engines, "compile_model", recorded)
    cases = [
        EngineCase("sliding_window", 60, "fp32", "1", weights="int4"),
        EngineCase("dms", 60, "fp32", "1", streaming=True),
    ]
    lines: list[str] = []
    engine, refused = run(cases, "tensorrt-rtx", tmp_path / "engines.json", lines.append)
    (report,) = reports
    assert (engine.layers, engine.fused) == (len(report.layers), report.fused) and engine.fused > 0
    assert engine.fused + engine.decomposed == len(report.attention) and engine.constants == report.constants
    assert engine.mask_bytes == sum(mask["bytes"] for mask in report.masks)
    assert refused.layers == 0 and "frame" in refused.refusal
    beginning = f"| sliding_window | 60 | fp32, weights int4 | 1 | {engine.layers} | {engine.fused} fused,"
    assert lines[2].startswith(beginning) and " Int4" in lines[2]
    assert "refused: " in lines[3]
    assert len({line.count("|") for line in lines}) == 1
    saved = json.loads((tmp_path / "engines.json").read_text())
    assert [row["case"]["arch"] for row in saved["engines"]] == ["sliding_window", "dms"]
