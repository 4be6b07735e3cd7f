"""`temport export --precision` and `--target` as a user calls them: what is written, and every refusal."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from temport.exporter import cli
from temport.exporter.compilers.tensorrt import BACKEND
from temport.exporter.compilers.tensorrt_rtx import BACKEND as RTX
from temport.exporter.export import run_export
from temport.exporter.request import ExportRequest

Command = Callable[..., tuple[int, str]]
SMALL = ["--arch", "mega", "--seq", "9", "--runtime", "onnxruntime_cpu"]
SETTINGS = ("embed_dim=6", "hidden_size=16", "num_layers=1")
SMALL += [word for option in SETTINGS for word in ("--set", option)]


@pytest.fixture
def export(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """Export the small model in an empty directory; exit code and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["temport", "export", *SMALL, *arguments])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return int(stop.value.code or 0), capsys.readouterr().err

    return run


def test_half_precision_bundle_with_engine(export: Command, tmp_path: Path) -> None:
    arguments = ("--precision", "fp16", "--target", "tensorrt-rtx", "--compute-capability", "89")
    code, err = export(*arguments, "--runtime", "tensorrt_rtx", "--out", "b")
    assert code == 0, err
    bundle = tmp_path / "b"
    report = json.loads((bundle / "report.json").read_text())
    rows = {row["name"]: row for row in report["runtimes"]}
    assert rows["onnxruntime_cpu"]["verdict"] == "pass"
    if rows["tensorrt_rtx"]["verdict"] != "pass":  # a GPU is here
        assert (rows["tensorrt_rtx"]["verdict"], "no GPU" in rows["tensorrt_rtx"]["reason"]) == (
            "not run",
            True,
        )
    (engine,) = json.loads((bundle / "engine.json").read_text())["engines"]
    files = json.loads((bundle / "manifest.json").read_text())["files"]
    assert engine["sha256"] == files["engine.tensorrt-rtx.plan"]["sha256"]
    assert engine["sha256"] == hashlib.sha256((bundle / engine["file"]).read_bytes()).hexdigest()
    assert engine["model_sha256"] == files["model.onnx"]["sha256"]
    assert engine["compute_capabilities"] == ["89"] and engine["options"]["compute_capabilities"] == ["89"]
    assert engine["precision"]["Half"] > 0 and len(engine["attention"]) == 1
    assert {"engine.json", "polygraphy.sh", "polygraphy_vectors.py"} <= set(files)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The float32 bundle of the small model."""
    out = tmp_path_factory.mktemp("plain") / "b"
    assert run_export(
        ExportRequest("mega", settings=SETTINGS, seq="9", runtimes=("onnxruntime_cpu",), out=out)
    ).passed
    return out


@pytest.mark.parametrize(
    ("factor", "exit_code", "told"),
    [(2.5e5, 1, r"overflow in float16: \S+ \(Gemm \S+\) reaches .* in case "), (1e6, 2, "")],
    ids=["activations", "weight"],
)
def test_what_overflows_is_named(
    factor: float, exit_code: int, told: str, plain: Path, export: Command, tmp_path: Path
) -> None:
    """A result that float16 cannot hold is a warning and a failed gate; a weight that it cannot hold is refused."""
    weights = load_file(plain / "weights.safetensors")
    name = "blocks.0.ffn.up.weight"
    save_file({**weights, name: weights[name] * factor}, tmp_path / "large.safetensors")
    code, err = export("--weights", "large.safetensors", "--precision", "fp16", "--out", "b")
    assert code == exit_code
    if exit_code == 2:
        assert re.search(
            r"weight \S+ reaches 2\.5e\+05, which float16 cannot hold; use --precision bf16", err
        )
        return
    warnings = json.loads((tmp_path / "b" / "report.json").read_text())["warnings"]
    assert any(re.match(told, text) for text in warnings)


NO_GPU = pytest.mark.skipif(BACKEND.unavailable() is None, reason="a GPU and tensorrt are here")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("--target bogus", "--target bogus is unknown; the targets are native, tensorrt-rtx, tensorrt"),
        ("--precision fp8", "--precision 'fp8' is unknown; give fp32, fp16, bf16"),
        pytest.param("--target tensorrt", "tensorrt cannot compile here: ", marks=NO_GPU),
        ("--target tensorrt-rtx --compute-capability 90", "cannot build for compute capability 90; it can for 75"),
        ("--target tensorrt-rtx --precision bf16 --compute-capability 75", "which compute capability 7.5 lacks"),
        ("--target tensorrt-rtx --aot-plugin", "tensorrt-rtx has no --aot-plugin; it takes --build-timeout, "),
        ("--target tensorrt-rtx --build-timeout 0", "build timeout 0 s is not from 1 to 604800"),
        ("--target tensorrt-rtx --build-timeout 99999999999", "99999999999 s is not from 1 to 604800"),
        ("--target tensorrt-rtx --plugin none.so", "plugin library none.so does not exist"),
        ("--optimization-level 3", "--optimization-level says how an engine is built; add --target"),
    ],
)  # fmt: skip
def test_refused(arguments: str, sentence: str, export: Command, tmp_path: Path) -> None:
    code, err = export(*arguments.split(), "--out", "b")
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert code == 2 and len(lines) == 1 and sentence in lines[0]
    assert list(tmp_path.iterdir()) == []


def _aborts(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = directory / "worker.py"
    worker.write_text("import os\nos.abort()\n")
    monkeypatch.setattr("temport.exporter.compilers.isolate._WORKER", worker)


def _hangs(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In native code that does not give Python's lock back."""
    (directory / "hanging.py").write_text(
        "import ctypes, tensorrt_rtx\n"
        "from tensorrt_rtx import *\n"
        "class Builder(tensorrt_rtx.Builder):\n"
        "    def build_serialized_network(self, network, config):\n"
        "        ctypes.PyDLL(None).sleep(600)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(directory))
    monkeypatch.setattr("temport.exporter.compilers.tensorrt_rtx.BACKEND", replace(RTX, module="hanging"))


@pytest.mark.parametrize(
    ("goes_wrong", "sentence"),
    [
        (_aborts, r"builder died of signal SIGABRT"),
        (_hangs, r"built no engine within 1 seconds \(phase '\w+'\); give it longer with --build-timeout"),
    ],
)
def test_failed_build_leaves_the_old_bundle(
    goes_wrong: Callable[[Path, pytest.MonkeyPatch], None], sentence: str,
    plain: Path, export: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    shutil.copytree(plain, tmp_path / "bundles" / "b")
    before = {path.name: path.read_bytes() for path in (tmp_path / "bundles" / "b").iterdir()}
    goes_wrong(tmp_path, monkeypatch)
    code, err = export("--target", "tensorrt-rtx", "--build-timeout", "1", "--out", "bundles/b")
    assert code == 2 and re.search(sentence, err)
    assert [path.name for path in (tmp_path / "bundles").iterdir()] == ["b"]
    assert {path.name: path.read_bytes() for path in (tmp_path / "bundles" / "b").iterdir()} == before
