"""Bundles in node and in a headless browser: they agree with the oracle, and refuse what is damaged."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toolchain
from javascript import PROGRAMS, SWIFTSHADER, install, refusal, run
from rich.console import Console
from small_bundles import SMALL, rehash, write_bundle
from toolchain import call

from temport.exporter.bundle.directory import open_bundle, seal
from temport.exporter.export import run_export
from temport.exporter.parity.compare import judge
from temport.exporter.parity.gate import gate
from temport.exporter.parity.run import run_runtime
from temport.exporter.parity.serial import runtime_row
from temport.exporter.parity.vectors import read_vectors
from temport.exporter.request import ExportRequest
from temport.exporter.runtimes import node, runtime_named
from temport.exporter.runtimes.subject import Subject

Exported = Callable[[str], Path]


def test_readers() -> None:
    install()
    call("node", "--test", node.JS / "test")


@pytest.mark.parametrize(
    ("where", "arch"),
    [
        *(("node", arch) for arch in ("mega", "dms")),
        ("web", "dms"),
        pytest.param("web", "mega", marks=pytest.mark.thorough),
    ],
)
def test_replay_agrees_with_the_oracle(exported: Exported, where: str, arch: str) -> None:
    done = run(where, exported(arch), "--replay")
    assert done.returncode == 0, done.stderr
    row = runtime_row(json.loads(done.stdout)["runtimes"][0])
    assert gate([row]) == ("pass", ()) and row.path == "function body"
    recorded = read_vectors(exported(arch) / "vectors.npz")
    assert {result.case for result in row.results} == {truth.case.name for truth in recorded}


def test_as_a_parity_runtime(exported: Exported) -> None:
    """Inputs and outputs as files; the measures are those that the runner prints itself."""
    bundle = open_bundle(exported("mega"))
    theirs = run_runtime(
        Subject(bundle.declaration, bundle.model_path),
        runtime_named("node"),
        read_vectors(bundle.path / "vectors.npz"),
    )
    ours = runtime_row(json.loads(run("node", bundle.path, "--replay").stdout)["runtimes"][0])
    assert theirs.verdict == "pass"
    by_case = {result.case: result for result in ours.results}
    for expected in theirs.results:
        for name, row in expected.outputs.items():
            other = by_case[expected.case].outputs[name]
            assert other.max_abs == row.max_abs
            for measure in ("max_rel", "rms_ratio", "cosine"):
                assert getattr(other, measure) == pytest.approx(getattr(row, measure), rel=1e-9)
            assert other.quantiles == pytest.approx(row.quantiles, rel=1e-9)


def test_one_inference_in_the_browser(exported: Exported, tmp_path: Path) -> None:
    import onnxruntime

    frames = np.random.default_rng(0).standard_normal((3, 12, 8)).astype(np.float32)
    np.save(tmp_path / "x.npy", frames)
    bundle, y = exported("mega"), tmp_path / "y.npy"
    done = run("web", bundle, "--input", f"state_sequence={tmp_path / 'x.npy'}", "--output", f"output={y}")
    assert done.returncode == 0, done.stderr
    session = onnxruntime.InferenceSession(bundle / "model.onnx")
    (expected,) = session.run(None, {"state_sequence": frames})
    np.testing.assert_allclose(np.load(y), expected, rtol=0, atol=16 * 2.0**-23)


def test_damage_is_refused(bundle: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    rehash(bundle, format=2)
    assert "at format, it is not one of 1" in refusal("node", bundle)
    renamed = json.loads(json.dumps(manifest["signature"]).replace("state_sequence", "frames"))
    rehash(bundle, format=1, signature=renamed)
    assert "signature is not the manifest's" in refusal("node", bundle)
    rehash(
        bundle,
        signature=manifest["signature"],
        files={**manifest["files"], "../x": {"sha256": "0" * 64, "bytes": 1}},
    )
    assert "at files/../x, it is spelled in a way that is refused" in refusal("node", bundle)
    seal(bundle, manifest)
    content = bytearray((bundle / "vectors.npz").read_bytes())
    content[500] ^= 1
    (bundle / "vectors.npz").write_bytes(content)
    assert "vectors.npz differs from its manifest" in refusal("node", bundle, "--replay")
    with (bundle / "model.onnx").open("ab") as file:
        file.write(b"\0")
    assert "model.onnx has" in refusal("node", bundle)
    assert "model.onnx has" in refusal("web", bundle)
    (bundle / "model.onnx").rename(bundle / "elsewhere")
    (bundle / "model.onnx").symlink_to(bundle / "elsewhere")
    assert "model.onnx cannot be read (not a plain file)" in refusal("node", bundle)


@pytest.mark.thorough  # another start of the browser, for what its server does with a link
def test_a_link_is_refused_in_the_browser(bundle: Path) -> None:
    (bundle / "model.onnx").rename(bundle / "elsewhere")
    (bundle / "model.onnx").symlink_to(bundle / "elsewhere")
    assert "model.onnx cannot be read" in refusal("web", bundle)


def assert_every_inference_counts(latency: dict[str, Any], frames: int) -> None:
    """A bench of so many frames."""
    assert latency["unit"] == "us" and latency["frames"] == frames
    quantiles = [latency[name] for name in ("min", "p50", "p90", "p99", "p99_9", "max")]
    assert quantiles == sorted(quantiles) and quantiles[0] > 0
    assert latency["min"] <= latency["p50_first_tenth"] <= latency["max"]
    edges, counts = latency["histogram"]["edges"], latency["histogram"]["counts"]
    assert sum(counts) == frames and len(edges) == len(counts) + 1 and edges == sorted(edges)
    assert edges[0] <= latency["min"] * (1 + 1e-9) and latency["max"] <= edges[-1] * (1 + 1e-9)


@pytest.mark.parametrize("where", PROGRAMS)
def test_a_bench_of_the_expected_bundle_and_of_no_other(bundle: Path, where: str) -> None:
    digest = open_bundle(bundle).digest
    done = run(where, bundle, "--digest", digest, "--strict", "--bench", "--frames", "200")
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert printed["digest"] == digest
    assert_every_inference_counts(printed["latency"], 200)
    assert f"its digest is {digest}, expected was 00" in refusal(where, bundle, "--digest", "00")
    (bundle / "engine").mkdir()
    (bundle / "engine" / "more").write_text("")
    assert "engine/more is not listed in the manifest" in refusal(where, bundle, "--strict")


def test_options_get_a_sentence(exported: Exported, tmp_path: Path) -> None:
    bundle = exported("mega")
    np.save(tmp_path / "x.npy", np.zeros((6, 12, 8), np.float32))
    files = ("--input", tmp_path / "x.npy", "--output", tmp_path / "y.npy")
    assert "axis batch is 6; the model takes 1 to 5" in refusal("node", bundle, *files)
    np.save(tmp_path / "x.npy", np.zeros((0, 12, 8), np.float32))
    assert "axis batch is 0; the model takes 1 to 5" in refusal("node", bundle, *files)
    assert "there is no manifest.json" in refusal("node", tmp_path)
    assert "no option --fast" in refusal("node", bundle, "--fast")
    assert "go together" in refusal("node", bundle, "--input", "x.npy")
    assert "other is not one of output" in refusal("node", bundle, *files, "--output", "other=z.npy")
    assert "give both" in refusal("node", bundle, "--frames", "10")
    assert "number from 1 to" in refusal("node", bundle, "--bench", "--frames", "0")
    assert "number from 1 to" in refusal("node", bundle, "--threads", "1.5")
    assert "one bundle is run at a time" in refusal("node", bundle, bundle)
    assert "nothing.npy cannot be read" in refusal(
        "web", bundle, "--input", "nothing.npy", "--output", "y.npy"
    )
    assert "choose wasm or webgpu" in refusal("web", bundle, TEMPORT_PROVIDER="webgl")


def half(tmp_path: Path, precision: str) -> Path:
    """A small bundle in a half type, its weights in a file beside the model."""
    run_export(
        ExportRequest(
            arch="mega",
            settings=tuple(SMALL["mega"]),
            seq="12",
            precision=precision,
            external_data=True,
            runtimes=("onnxruntime_cpu",),
            out=tmp_path / precision,
        ),
        Console(quiet=True),
    )
    return tmp_path / precision


def assert_overflow_is_no_wrong_number(bundle: Path, runner: Path) -> None:
    """Two cases whose outputs are NaN: torch overflows in one of them, as its bound says, and not in the other."""
    with np.load(bundle / "vectors.npz") as archive:
        arrays = dict(archive)
    kept = ("vectors.npz", "manifest.json", "manifest.sha256")
    recorded = [(bundle / name).read_bytes() for name in kept]
    overflowing, wrong = sorted({key.split("/")[0] for key in arrays})[:2]
    for case in (overflowing, wrong):
        arrays[f"{case}/input/state_sequence"].fill(np.nan)
    arrays[f"{overflowing}/bound/output"][:2] = np.nan  # what passes, and torch's own error
    np.savez(bundle / "vectors.npz", **arrays)
    rehash(bundle)
    named = {truth.case.name: truth for truth in read_vectors(bundle / "vectors.npz")}
    for done in (run("node", bundle, "--replay"), toolchain.run(runner, bundle, "--replay", "--ops", "none")):
        row = runtime_row(json.loads(done.stdout)["runtimes"][0])
        told = {result.case: result.outputs["output"] for result in row.results}
        for case, verdict in ((overflowing, "ill-conditioned"), (wrong, "fail")):
            truth = named[case]
            nan = np.full_like(truth.outputs["output"], np.nan).astype(np.float16)
            judged = judge(nan, truth.outputs["output"], truth.bounds["output"], "float16")
            assert (told[case].verdict, told[case].reason) == (judged.verdict, judged.reason)
            assert judged.verdict == verdict
    for name, content in zip(kept, recorded, strict=True):
        (bundle / name).write_bytes(content)


def test_half_floats_and_external_data(tmp_path: Path, runner: Path) -> None:
    bundle = half(tmp_path, "fp16")
    for where in PROGRAMS:
        done = run(where, bundle, "--replay")
        assert done.returncode == 0, done.stderr
        assert runtime_row(json.loads(done.stdout)["runtimes"][0]).verdict == "pass"
    assert_overflow_is_no_wrong_number(bundle, runner)
    with (bundle / "model.onnx.data").open("r+b") as file:
        file.write(b"\xff")
    assert "model.onnx.data differs from its manifest" in refusal("node", bundle)


def test_a_precision_without_kernels_is_not_run(tmp_path: Path) -> None:
    bundle = half(tmp_path, "bf16")
    done = run("node", bundle, "--replay")
    row = runtime_row(json.loads(done.stdout)["runtimes"][0])
    assert (row.verdict, row.reason) == ("not run", "ONNX Runtime's cpu kernels do not compute in bfloat16")
    assert done.returncode == 1, "nothing was judged"
    assert "do not compute in bfloat16" in refusal("node", bundle, "--bench")


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_the_browser_ends_with_its_runner(exported: Exported, end: signal.Signals) -> None:
    install()
    command = [
        "node",
        str(node.JS / PROGRAMS["web"]),
        str(exported("mega")),
        "--bench",
        "--frames",
        "10000000",
    ]
    with tempfile.TemporaryDirectory() as scratch:  # a socket in it needs a shorter path than pytest's
        environment = {**os.environ, "TMPDIR": scratch}
        runner = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        until(lambda: len(browsers(Path(scratch))) > 3)
        runner.send_signal(end)
        runner.wait(30)
        until(lambda: not browsers(Path(scratch)))
        if end == signal.SIGTERM:
            assert runner.returncode == 130 and os.listdir(scratch) == []


def browsers(profiles: Path) -> list[str]:
    """Command lines of running processes whose profile lies in a directory."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found.append(file.read_text(errors="replace"))
    return [line for line in found if f"--user-data-dir={profiles}" in line]


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.thorough  # test_javascript_stream.py has one model on WebGPU
@pytest.mark.parametrize("arch", ["mega", "lightning"])
def test_webgpu_agrees_with_the_oracle(tmp_path: Path, arch: str) -> None:
    bundle = write_bundle(tmp_path / arch, arch, batch="1")  # one shape: its shaders are compiled once
    done = run("web", bundle, "--replay", **SWIFTSHADER)
    if "no WebGPU adapter" in done.stderr:
        pytest.skip("this Chromium has no WebGPU adapter, not even SwiftShader")
    assert done.returncode == 0, done.stderr
    row = runtime_row(json.loads(done.stdout)["runtimes"][0])
    assert gate([row]) == ("pass", ()) and row.name == "browser-webgpu"
