"""The runners of a step bundle in the parity report: as runtimes of an export, and as rows of named runners."""

from __future__ import annotations

from pathlib import Path

import javascript
import onnxruntime
import pytest
from rich.console import Console
from small_bundles import SMALL

from temport.exporter.export import run_export
from temport.exporter.parity.serial import read_json
from temport.exporter.recheck import run_parity_of_bundle
from temport.exporter.request import ExportRequest
from temport.exporter.runtimes import node
from temport.exporter.runtimes.libraries import onnxruntime_library
from temport.exporter.runtimes.runner import LocalRunner


def test_their_rows_join_the_parity_report(
    runner: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C++, which finds our own libraries, node and the browser, all asked once."""
    javascript.install()
    monkeypatch.setenv("TEMPORT_RUN", str(runner))
    monkeypatch.delenv("TEMPORT_ONNXRUNTIME_LIBRARY", raising=False)
    monkeypatch.delenv("TEMPORT_OPS_LIBRARY", raising=False)
    request = ExportRequest(
        arch="mega",
        settings=tuple(SMALL["mega"]),
        seq="12",
        streaming=True,
        runtimes=("onnxruntime_cpu", "cpp", "node"),
        out=tmp_path / "bundle",
    )
    quiet, out = Console(quiet=True), tmp_path / "report"
    assert run_export(request, quiet).passed
    programs = (runner, *(node.JS / program for program in javascript.PROGRAMS.values()))
    runners = tuple(LocalRunner(program) for program in programs)
    assert run_parity_of_bundle(tmp_path / "bundle", ("onnxruntime_cpu",), (), out, runners, quiet)
    exported = {row.name: row for row in read_json(tmp_path / "bundle" / "report.json").runtimes}
    named = {row.name: row for row in read_json(out / "report.json").runtimes}
    for own, other in ((exported["cpp"], named["cpp-x86_64"]), (exported["node"], named["node"])):
        assert own.verdict == other.verdict == "pass"
        assert own.path == other.path and "/" not in own.path
        assert own.version == other.version
    assert named["browser-wasm"].verdict == "pass"
    runtime = f"onnxruntime {onnxruntime.__version__} from {onnxruntime_library().name}"
    assert exported["cpp"].version.endswith(runtime)
