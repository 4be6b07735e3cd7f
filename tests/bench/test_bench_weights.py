"""`temport bench weights`: everybody computes what is told, and the table says how far off."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from temport.exporter.bench import weights
from temport.exporter.bench.weights_contenders import CONTENDERS, ROUNDED
from temport.exporter.cli import app

CHEAP = (
    "ours, fp32",
    "ours, int8",
    "ours, int8 activations",
    "ONNX Runtime, int8, accuracy level 1",
    "ONNX Runtime, int8, accuracy level 4",
)


@pytest.mark.parametrize("more", [(), pytest.param(("engine, int8",), marks=pytest.mark.thorough)])
def test_a_small_model(more: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = (*more, *CHEAP)
    monkeypatch.setattr(weights, "CONTENDERS", [c for c in CONTENDERS if c.name in named])
    sizes = ("embed_dim=32", "num_heads=1", "head_dim=32", "num_layers=1", "ffn_dim=64", "window_size=4")
    words = ["bench", "weights", "--arch", "sliding_window", "--seq", "8", "--seconds", "0.01"]
    words += [word for size in sizes for word in ("--set", size)]
    done = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "w.json")], catch_exceptions=False)
    assert done.exit_code == 0
    tables = json.loads((tmp_path / "w.json").read_text())["tables"]
    assert tables.keys() == {"sliding_window, one frame", "sliding_window, window of 8"}
    for rows in tables.values():
        found = {row["name"]: row for row in rows}
        assert tuple(found) == named and all(name in done.output for name in named)
        fp32, int8, ours, exact, rounded = (found[name]["error"] for name in CHEAP)
        assert max(fp32, int8, exact, *(found[name]["error"] for name in more)) < 1e-5 < 1e-4 < rounded
        assert ours < 0.02  # where float32 and float64 take different integers
        assert all(name.partition(", ")[2] in (tmp_path / "w.svg").read_text() for name in CHEAP[:3])
        assert all(
            found[f"ours, {kind}"]["bytes"] < found["ours, fp32"]["bytes"] for kind in ("int8", ROUNDED)
        )


def test_engines_are_timed_where_they_run() -> None:
    done = CliRunner().invoke(app, ["bench", "weights", "--engine-isa", "wasm"])
    assert done.exit_code == 2 and "--engine-isa wasm is timed where the processor has it" in done.output
