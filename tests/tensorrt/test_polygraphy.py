"""The files for Polygraphy users: the script judges by the bundle's bounds, the command carries the profile."""

from __future__ import annotations

import runpy
import subprocess
from pathlib import Path

import numpy as np
import pytest

from exporter.compilers.polygraphy import COMMAND, SCRIPT, command, write_polygraphy
from tests.tensorrt.models import AttentionCase, declaration


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """Two judged cases and one that torch itself cannot judge."""
    arrays = {}
    for name, size, allowed in (("normal", 2, 0.1), ("wild", 2, np.nan), ("large", 3, 0.5)):
        arrays[f"{name}/input/x"] = np.full((size, 4), 1.0, np.float32)
        arrays[f"{name}/output/y"] = np.full((size, 4), 2.0)
        arrays[f"{name}/bound/y"] = np.array([allowed, 0.0, 1.0, 1.0])
    np.savez(tmp_path / "vectors.npz", **arrays)  # type: ignore[arg-type]
    write_polygraphy(tmp_path, declaration(AttentionCase(dynamic=True)))
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


def test_command_carries_the_profile(bundle: Path) -> None:
    words = command(declaration(AttentionCase(dynamic=True)))
    assert words[words.index("--trt-max-shapes") + 1 :] == ["q:[4,120,64]", "k:[4,120,64]", "v:[4,120,64]"]
    assert "--trt-min-shapes" not in command(declaration(AttentionCase()))
    subprocess.run(["sh", "-n", bundle / COMMAND], check=True)
