"""Step bundles in node and in a headless browser: every frame agrees, and a state handed on wrongly is seen."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from javascript import PROGRAMS, SWIFTSHADER, refusal, run
from rich.console import Console
from small_bundles import lose_a_channel, rehash, write_step_bundle

from temport.exporter.bundle.directory import open_bundle
from temport.exporter.export import run_export
from temport.exporter.parity.gate import gate
from temport.exporter.parity.result import RuntimeRow
from temport.exporter.parity.serial import runtime_row
from temport.exporter.parity.stream import Streamed
from temport.exporter.parity.vectors import read_vectors
from temport.exporter.request import ExportRequest
from temport.exporter.runtimes import node, runtime_named
from temport.exporter.runtimes.subject import Subject

Stepped = Callable[[str], Path]


def replayed(where: str, bundle: Path, code: int = 0, package: Path = node.JS) -> RuntimeRow:
    done = run(where, bundle, "--replay", package=package)
    assert done.returncode == code, done.stdout[:300] + done.stderr
    return runtime_row(json.loads(done.stdout)["runtimes"][0])


@pytest.mark.parametrize(
    ("arch", "where"),
    [
        *((arch, "node") for arch in ("mega", "lightning", "sliding_window", "hybrid")),
        ("mega", "web"),
        *(
            pytest.param(arch, "web", marks=pytest.mark.thorough)
            for arch in ("lightning", "sliding_window", "hybrid")
        ),
    ],
)
def test_replay_agrees_at_every_frame(stepped: Stepped, arch: str, where: str) -> None:
    row = replayed(where, stepped(arch))
    assert gate([row]) == ("pass", ()) and row.divergence is None
    recorded = read_vectors(stepped(arch) / "vectors.npz")
    assert {result.case for result in row.results} == {truth.case.name for truth in recorded}


def test_replay_agrees_where_a_step_takes_several_inputs(tmp_path: Path) -> None:
    """Frames `[batch, 3, 1]` and a static input, made of an ONNX file."""
    graph = """<ir_version: 9, opset_import: ["" : 18]> f (
        float[batch, 3, seq] x, float[batch, 3, 1] gain) => (float[batch, 3, seq] y) {
        s = CumSum (x, axis) y = Mul (s, gain)}"""
    model = onnx.parser.parse_model(graph)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(2, np.int64), "axis"))
    onnx.save(model, tmp_path / "several.onnx")
    asked = ExportRequest(
        onnx=tmp_path / "several.onnx",
        batch="1:2:3",
        seq="4",
        streaming=True,
        runtimes=("onnxruntime_cpu",),
        out=tmp_path / "bundle",
    )
    bundle = run_export(asked, Console(quiet=True)).path
    row = replayed("node", bundle)
    assert gate([row]) == ("pass", ()) and row.divergence is None
    done = run("node", bundle, "--bench", "--frames", "60")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("streams", [2, pytest.param(None, marks=pytest.mark.thorough)])
def test_webgpu_keeps_the_state_on_the_gpu(tmp_path: Path, streams: int | None) -> None:
    bundle = write_step_bundle(tmp_path / "bundle", "mega", batch="1", streams=streams)
    done = run("web", bundle, "--replay", **SWIFTSHADER)
    if "no WebGPU adapter" in done.stderr:
        pytest.skip("this Chromium has no WebGPU adapter, not even SwiftShader")
    assert done.returncode == 0, done.stdout[:300] + done.stderr
    row = runtime_row(json.loads(done.stdout)["runtimes"][0])
    assert gate([row]) == ("pass", ()) and row.name == "browser-webgpu"


def test_a_state_that_is_not_handed_on_fails_the_replay(stepped: Stepped, tmp_path: Path) -> None:
    package = tmp_path / "js"
    shutil.copytree(node.JS, package, ignore=shutil.ignore_patterns("node_modules"))
    (package / "node_modules").symlink_to(node.JS / "node_modules")
    stream = package / "lib" / "stream.mjs"
    source = stream.read_text()
    for line in (
        "this.#state = Object.fromEntries(states.map(({ input, output: next })",
        "for (const tensor of Object.values(before))",
    ):
        assert source.count(line) == 1
        source = source.replace(line, f"// {line}")
    stream.write_text(source)
    row = replayed("node", stepped("mega"), 1, package)
    assert gate([row])[0] == "fail" and row.divergence is not None
    assert row.divergence.explanation.startswith("frame 1 of"), "frame 0 reads the zero state either way"


def test_states_that_change_places_fail_the_replay(stepped: Stepped, tmp_path: Path) -> None:
    """Keys handed on as values and values as keys: the signature says so in both places, only the numbers can tell."""
    bundle = Path(shutil.copytree(stepped("mega"), tmp_path / "bundle"))
    signature = open_bundle(bundle).manifest["signature"]
    states = {pair["input"]: pair for pair in signature["states"]}
    keys, values = states["state.blocks.0.attention.keys"], states["state.blocks.0.attention.values"]
    keys["output"], values["output"] = values["output"], keys["output"]
    sign(bundle, signature)
    row = replayed("node", bundle, 1)
    assert row.divergence is not None and row.divergence.explanation.startswith("frame 1 of")


def test_one_value_that_is_nan_makes_its_frame_wrong(stepped: Stepped, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(stepped("mega"), tmp_path / "bundle"))
    lose_a_channel(bundle)
    row = replayed("node", bundle, 1)
    assert row.divergence is not None and row.divergence.error is None
    assert row.divergence.explanation.startswith("frame 0 of")


def test_states_that_do_not_pair_are_refused(stepped: Stepped, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(stepped("mega"), tmp_path / "bundle"))
    signature = open_bundle(bundle).manifest["signature"]
    states = signature["states"]
    unequal = [{**states[0], "output": states[1]["output"]}, {**states[1], "output": states[0]["output"]}]
    for wrong, told in (
        ([], "at signature/states, it has too few entries"),
        (states[:-1], "is not what the signature says"),  # an output that was not recorded
        ([*states[:-1], states[0]], "twice"),
        ([*unequal, *states[2:]], "different types or shapes"),
    ):
        sign(bundle, {**signature, "states": wrong})
        done = run("node", bundle, "--replay")
        assert done.returncode == 2 and told in done.stderr


def sign(bundle: Path, signature: dict[str, Any]) -> None:
    """Put another signature into the model and its manifest, and hash both anew."""
    model = onnx.load(bundle / "model.onnx")
    (entry,) = [p for p in model.metadata_props if p.key == "temport.signature"]
    entry.value = json.dumps(signature)
    onnx.save(model, bundle / "model.onnx")
    rehash(bundle, signature=signature)


@pytest.mark.parametrize("where", PROGRAMS)
def test_a_stream_from_file_to_file(stepped: Stepped, where: str, tmp_path: Path) -> None:
    bundle = open_bundle(stepped("sliding_window"))
    frames = np.random.default_rng(3).standard_normal((2, 40, 8)).astype(np.float32)
    np.save(tmp_path / "x.npy", frames)
    files = ("--input", tmp_path / "x.npy", "--output", f"output={tmp_path / 'y.npy'}")
    done = run(where, bundle.path, *files)
    assert done.returncode == 0, done.stderr
    with Streamed(runtime_named("onnxruntime_cpu")).open(
        Subject(bundle.declaration, bundle.model_path)
    ) as session:
        expected = session.run({"frame": frames})["output"]
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), expected, rtol=0, atol=16 * 2.0**-23)
    if where == "web":
        return  # it refuses by the same files of lib; test_javascript.py proves that such a sentence gets out
    np.save(tmp_path / "x.npy", frames[:, :, :5])
    assert "a stream of this model takes frame as float32 [batch, frames, 8]" in refusal(
        where, bundle.path, *files
    )
    np.save(tmp_path / "x.npy", np.repeat(frames, 2, 0))
    assert "4 streams at once; the model takes 1 to 3" in refusal(where, bundle.path, *files)


def test_bench_takes_the_frames_of_one_stream(stepped: Stepped) -> None:
    done = run("node", stepped("mega"), "--bench", "--frames", "70")
    latency = json.loads(done.stdout)["latency"]
    assert latency["frames"] == 70 and sum(latency["histogram"]["counts"]) == 70
