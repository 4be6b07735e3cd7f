"""The files for Polygraphy users: the script judges by the bundle's bounds, the commands run the bundle's engine."""

from __future__ import annotations

import os
import runpy
import subprocess
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from temport.exporter.compilers.contract import EngineReport
from temport.exporter.compilers.engines import summary
from temport.exporter.compilers.polygraphy import COMMAND, SCRIPT, write_polygraphy
from tests.tensorrt.models import AttentionCase, declaration


def engine(target: str = "tensorrt-rtx", plugin: str | None = None) -> EngineReport:
    """What the files need to know of an engine."""
    named = {"target": target, "file": f"engine.{target}.plan", "options": {"plugin": plugin}}
    rest = {field.name: None for field in fields(EngineReport)}
    return EngineReport(**{**rest, **named})  # type: ignore[arg-type]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """Two judged cases and one that torch itself cannot judge."""
    arrays = {}
    for name, size, allowed in (("normal", 2, 0.1), ("wild", 2, np.nan), ("large", 3, 0.5)):
        arrays[f"{name}/input/x"] = np.full((size, 4), 1.0, np.float32)
        arrays[f"{name}/output/y"] = np.full((size, 4), 2.0)
        arrays[f"{name}/bound/y"] = np.array([allowed, 0.0, 1.0, 1.0])
    np.savez(tmp_path / "vectors.npz", **arrays)  # type: ignore[arg-type]
    write_polygraphy(tmp_path, declaration(AttentionCase()), engine())
    return tmp_path


def outcome(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, *outputs: tuple[np.ndarray, np.ndarray]
) -> list[bool]:
    monkeypatch.delenv("TEMPORT_CASES_COMPARED", raising=False)
    verdicts = []
    for first, second in outputs:  # Polygraphy loads the script for each call
        script = runpy.run_path(str(bundle / SCRIPT))
        verdicts.append(script["compare_outputs"]({"y": first}, {"y": second})["y"])
    return verdicts


def test_inputs_of_judged_cases(bundle: Path) -> None:
    feeds = list(runpy.run_path(str(bundle / SCRIPT))["load_data"]())
    assert [feed["x"].shape for feed in feeds] == [(2, 4), (3, 4)]


def test_each_runner_is_judged(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small, large = np.full((2, 4), 2.05), np.full((3, 4), 2.4)
    assert outcome(bundle, monkeypatch, (small, small), (large, large)) == [True, True]
    assert outcome(bundle, monkeypatch, (small, small + 0.1), (large + 0.2, large)) == [False, False]
    assert outcome(bundle, monkeypatch, (small * np.nan, small)) == [False]


FAKE = """#!/bin/sh
echo "$POLYGRAPHY_USE_TENSORRT_RTX $*" >> calls
case "$*" in *--onnxrt*) exit ${ONNXRT:-0};; *) exit ${TRT:-0};; esac
"""


def run_commands(bundle: Path, **codes: int) -> tuple[int, list[str]]:
    """`polygraphy.sh` with a Polygraphy that notes its arguments and ends with the given exit codes."""
    (bundle / "polygraphy").write_text(FAKE)
    (bundle / "polygraphy").chmod(0o755)
    (bundle / "calls").unlink(missing_ok=True)
    path = {"PATH": f"{bundle}:{os.environ['PATH']}", "TMPDIR": str(bundle)}
    environment = {**os.environ, **path, **{name: str(code) for name, code in codes.items()}}
    done = subprocess.run(["sh", bundle / COMMAND, "--verbose"], cwd="/", env=environment)
    assert not list(bundle.glob("tmp.*"))
    return done.returncode, (bundle / "calls").read_text().splitlines()


def test_the_engine_of_the_bundle_is_run(bundle: Path) -> None:
    """Not one that Polygraphy would build from the model, and either failure is the command's."""
    code, (first, second) = run_commands(bundle)
    assert code == 0
    assert first.startswith(f" run model.onnx --onnxrt --data-loader-script {SCRIPT} --save-outputs ")
    assert second.startswith("1 run engine.tensorrt-rtx.plan --trt --load-outputs ")
    assert second.endswith(f" --data-loader-script {SCRIPT} --compare-func-script {SCRIPT} --verbose")
    assert first.split()[-1] == second.split("--load-outputs ")[1].split()[0]
    assert run_commands(bundle, TRT=1)[0] == 1
    code, calls = run_commands(bundle, ONNXRT=1)
    assert code == 1 and len(calls) == 1


def test_bfloat16_needs_no_onnx_runtime(bundle: Path) -> None:
    described = replace(declaration(AttentionCase()), precision="bfloat16")
    write_polygraphy(bundle, described, engine(target="tensorrt", plugin="my ops.so"))
    code, (call,) = run_commands(bundle)
    assert code == 0
    assert call.startswith(
        f" run engine.tensorrt.plan --trt --plugins {Path.cwd()}/my ops.so --trt --data-loader"
    )


@pytest.mark.parametrize(
    ("layers", "told"),
    [
        ([], "attention: no op of ours, and no fused layer, no mask of ours"),
        (
            ["_gemm_mha_v2_myl0"],
            "no op of ours; 1 layers fused from standard operators, with tables of 7200 bytes",
        ),
    ],
)
def test_a_summary_says_what_the_layers_show(layers: list[str], told: str) -> None:
    """Attention that no op of ours stands for is not called none."""
    tables = [{"name": "m", "shape": [1, 1, 60, 60], "bytes": 7200}]
    found = [{"name": name, "constants": tables} for name in layers]
    built = {"bytes": 2**20, "build_seconds": 1.0, "layers": found, "attention": [], "masks": []}
    assert told in summary(replace(engine(), **built))
