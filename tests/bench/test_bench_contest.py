"""What every comparison shares: who takes part, what is told, what an interrupted run leaves."""

import errno
import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from temport.exporter.bench import model, ops
from temport.exporter.bench.announce import announced
from temport.exporter.bench.contest import contest, largest_difference
from temport.exporter.bench.model_command import bench_model
from temport.exporter.bench.ops_command import bench_ops
from temport.exporter.errors import UserError
from temport.exporter.files import write_whole

TRUTH = np.arange(3.0)


def hold(prepared: dict, ours: tuple[str, ...] = ("ours",)) -> tuple[list[str], dict[str, str]]:
    rows, left_out = contest(
        prepared,
        ours,
        absent=lambda name: "not here" if prepared[name] is None else None,
        prepare=lambda name: prepared[name],
        error=lambda output: largest_difference(output, TRUTH),
        allowed=1e-6,
        seconds=1e-3,
    )
    return [row.name for row in rows], left_out


def test_only_who_is_here_and_right_is_timed() -> None:
    def broken() -> np.ndarray:
        raise RuntimeError("no kernel\nwith a long trace")

    timed, left_out = hold(
        {
            "ours": lambda: TRUTH,
            "close": lambda: TRUTH + 1e-7,
            "far": lambda: TRUTH + 1e-5,
            "undefined": lambda: TRUTH * np.nan,
            "missing": None,
            "broken": broken,
        }
    )
    assert timed == ["ours", "close"]
    assert left_out == {
        "far": "computes something else: largest difference 1e-05",
        "undefined": "computes something else: largest difference nan",
        "missing": "not here",
        "broken": "fails: no kernel",
    }


def test_our_own_failure_is_no_footnote() -> None:
    def broken() -> np.ndarray:
        raise RuntimeError("no kernel")

    with pytest.raises(RuntimeError, match="no kernel"):
        hold({"ours": broken})


def test_every_step_says_how_many_remain_and_what_is_next() -> None:
    told: list[str] = []
    assert list(announced(["a", "b"], told.append)) == ["a", "b"]
    assert told == ["[  0 s] 1 of 2: a; then b", "[  0 s] 2 of 2: b"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new" / "x.json"
    write_whole(path, "old")
    with pytest.raises(UserError, match=r"cannot write .*: File exists; choose another --out"):
        write_whole(path / "under a file.json", "half")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(UserError, match="No space left on device"):
        write_whole(path, "half")
    assert path.read_text() == "old" and list(path.parent.iterdir()) == [path]


def stop_at_second(monkeypatch: pytest.MonkeyPatch, owner: object, name: str) -> None:
    right, calls = getattr(owner, name), []

    def measure(*arguments: object) -> object:
        calls.append(arguments)
        if len(calls) > 1:
            raise KeyboardInterrupt
        return right(*arguments)

    monkeypatch.setattr(owner, name, measure)


def results(folder: Path, name: str) -> list[dict]:
    """Of a JSON beside a picture that are both whole, and the only files there."""
    assert {path.name for path in folder.iterdir()} == {f"{name}.json", f"{name}.svg"}
    assert ElementTree.parse(folder / f"{name}.svg").getroot().tag.endswith("svg")
    stored: list[dict] = json.loads((folder / f"{name}.json").read_text())["results"]
    return stored


def test_an_interrupted_op_benchmark_keeps_what_it_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "temport")
    stop_at_second(monkeypatch, ops, "_measure")
    with pytest.raises(KeyboardInterrupt):
        bench_ops(
            ["window"], [64, 65], ["torch SDPA"], threads="1", seconds=0.01, memory_length=0, out=tmp_path
        )
    assert [result["length"] for result in results(tmp_path, "bench-ops")] == [64]
    assert "2 of 2: window, length 65" in caplog.text


def test_an_interrupted_model_benchmark_keeps_what_it_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_at_second(monkeypatch, model._Case, "measure")
    small = ["embed_dim=6", "lstm_hidden=8", "num_heads=2", "head_dim=4"]
    with pytest.raises(KeyboardInterrupt):
        bench_model(["hybrid"], ["1x4"], ["torch eager"], small, "1,2", 0.01, out=tmp_path)
    assert [result["threads"] for result in results(tmp_path, "bench-model")] == [1]
