"""temport-run on step bundles: streams agree with the oracle at every frame, and a state handed on wrongly is seen."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_bundles import lose_a_channel, resign
from toolchain import CPP, build_runner, call, run

from temport.custom_ops.library import library_path
from temport.exporter.bundle.directory import open_bundle
from temport.exporter.parity.gate import gate
from temport.exporter.parity.serial import runtime_row
from temport.exporter.parity.stream import Streamed
from temport.exporter.parity.vectors import read_vectors
from temport.exporter.runtimes import runtime_named
from temport.exporter.runtimes.libraries import onnxruntime_library
from temport.exporter.runtimes.subject import Subject

Stepped = Callable[[str], Path]


def failed_row(program: Path, bundle: Path) -> dict[str, object]:
    """The row of a replay that has to fail."""
    done = run(program, bundle, "--replay", "--ops", "none")
    assert done.returncode == 1, done.stdout[:300] + done.stderr
    (row,) = json.loads(done.stdout)["runtimes"]
    assert row["verdict"] == "fail" and gate([runtime_row(row)])[0] == "fail"
    return dict(row)


@pytest.mark.parametrize("ops", ["none", "native"])
@pytest.mark.parametrize("arch", ["mega", "lightning", "sliding_window", "hybrid"])
def test_replay_agrees_at_every_frame(runner: Path, stepped: Stepped, arch: str, ops: str) -> None:
    chosen = "none" if ops == "none" else library_path()
    assert chosen is not None, "the native op library was not built"
    done = run(runner, stepped(arch), "--replay", "--ops", chosen)
    assert done.returncode == 0, done.stdout + done.stderr
    row = runtime_row(json.loads(done.stdout)["runtimes"][0])
    assert row.verdict == "pass" and row.divergence is None
    assert {result.case for result in row.results} == {
        truth.case.name for truth in read_vectors(stepped(arch) / "vectors.npz")
    }


def test_states_that_change_places_fail_the_replay(runner: Path, stepped: Stepped, tmp_path: Path) -> None:
    """Keys handed on as values and values as keys: the signature says so in both places, only the numbers can tell."""
    bundle = Path(shutil.copytree(stepped("mega"), tmp_path / "bundle"))

    def exchange(signature: dict[str, Any]) -> None:
        states = {pair["input"]: pair for pair in signature["states"]}
        keys, values = states["state.blocks.0.attention.keys"], states["state.blocks.0.attention.values"]
        keys["output"], values["output"] = values["output"], keys["output"]

    resign(bundle, exchange)
    divergence = failed_row(runner, bundle)["divergence"]
    assert isinstance(divergence, dict)
    assert divergence["explanation"].startswith("frame 1 of"), (
        "frame 0 reads the zero state, where both are equal"
    )


def test_one_value_that_is_nan_makes_its_frame_wrong(runner: Path, stepped: Stepped, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(stepped("mega"), tmp_path / "bundle"))
    lose_a_channel(bundle)
    divergence = failed_row(runner, bundle)["divergence"]
    assert isinstance(divergence, dict) and divergence["error"] is None
    assert divergence["explanation"].startswith("frame 0 of")


def test_a_library_that_does_not_swap_fails_the_replay(stepped: Stepped, tmp_path: Path) -> None:
    """The gate itself: a runner that reads the same state in every frame does not pass for a stream."""
    sets = (CPP / "src" / "state_sets.cpp").read_text()
    swap = "if (done) turn_ = 1 - turn_;"
    assert sets.count(swap) == 1
    (tmp_path / "state_sets.cpp").write_text(sets.replace(swap, ""))
    built, program = build_runner(), tmp_path / "temport-run"
    call(
        "g++",
        *("-std=c++17", f"-I{CPP}/src", f"-I{CPP}/include"),
        *(
            "-Wl,--allow-multiple-definition",
            tmp_path / "state_sets.cpp",
        ),  # the first definition is the one that counts
        *(built / "CMakeFiles" / "temport-run.dir").rglob("*.o"),
        *(built / "libtemport.a", "-ldl", "-o", program),
    )
    divergence = failed_row(program, stepped("mega"))["divergence"]
    assert isinstance(divergence, dict) and divergence["explanation"].startswith("frame 1 of")


def test_a_stream_from_file_to_file(runner: Path, stepped: Stepped, tmp_path: Path) -> None:
    bundle = open_bundle(stepped("sliding_window"))
    frames = np.random.default_rng(3).standard_normal((2, 40, 8)).astype(np.float32)
    np.save(tmp_path / "x.npy", frames)
    files = ("--input", tmp_path / "x.npy", "--output", f"output={tmp_path / 'y.npy'}")
    done = run(runner, bundle.path, "--ops", "none", *files)
    assert done.returncode == 0, done.stderr
    subject = Subject(bundle.declaration, bundle.model_path)
    with Streamed(runtime_named("onnxruntime_cpu")).open(subject) as session:
        expected = session.run({"frame": frames})["output"]
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), expected, rtol=0, atol=16 * 2.0**-23)
    np.save(tmp_path / "x.npy", frames[:, :0])
    refused = run(runner, bundle.path, "--ops", "none", *files)
    assert refused.returncode == 2 and "a stream is [batch, frames, ...]" in refused.stderr
    refused = run(runner, bundle.path, "--input", tmp_path / "x.npy", "--output", "next_state.frames=z.npy")
    assert refused.returncode == 2 and "next_state.frames is not one of output" in refused.stderr


@pytest.mark.parametrize("ops", ["none", "native"])
def test_nothing_is_allocated_per_frame(stepped: Stepped, ops: str) -> None:
    program = build_runner() / "tests" / "temport_allocations"
    library, chosen = onnxruntime_library(), "none" if ops == "none" else library_path()
    printed = json.loads(call(program, stepped("mega"), library or "", chosen or ""))
    assert printed["ours"] == 0
    assert printed["runtime"] > 0, "the hook has to see the runtime's own allocations"


@pytest.mark.parametrize("kind", ["window", "step"])
def test_bench_measures(runner: Path, exported: Callable[[str], Path], stepped: Stepped, kind: str) -> None:
    bundle = exported("mega") if kind == "window" else stepped("mega")
    latency = json.loads(run(runner, bundle, "--bench", "--frames", "70").stdout)["latency"]
    assert latency["frames"] == 70 and latency["unit"] == "us"
    assert 0 < latency["min"] <= latency["p50"] <= latency["p90"] <= latency["p99"]
    assert latency["p99"] <= latency["p99_9"] <= latency["max"]
    for tenth in ("p50_first_tenth", "p50_last_tenth"):
        assert latency["min"] <= latency[tenth] <= latency["max"]
    edges, counts = latency["histogram"]["edges"], latency["histogram"]["counts"]
    assert sum(counts) == 70 and len(edges) == len(counts) + 1
    assert edges[0] <= latency["min"] < edges[1] and edges[-2] <= latency["max"] < edges[-1]
    np.testing.assert_allclose(np.diff(np.log10(edges)), 1 / 20)


@pytest.mark.parametrize("kind", ["window", "step"])
def test_the_noise_of_the_host_is_that_of_arithmetic_as_long_as_a_frame(
    runner: Path, exported: Callable[[str], Path], stepped: Stepped, kind: str
) -> None:
    bundle = exported("mega") if kind == "window" else stepped("mega")
    report = json.loads(run(runner, bundle, "--bench", "--frames", "300", "--host-noise").stdout)
    noise, latency = report["host_noise"], report["latency"]
    assert (noise["of"], noise["unit"], noise["frames"]) == ("arithmetic of the same length", "us", 300)
    assert 0 < noise["min"] <= noise["p50"] <= noise["p99"] <= noise["p99_9"] <= noise["max"]
    assert 1 / 4 < noise["p50"] / latency["p50"] < 4
    assert "host_noise" not in json.loads(run(runner, bundle, "--bench", "--frames", "2").stdout)


def test_bench_lengths_that_mean_nothing_get_a_sentence(runner: Path, stepped: Stepped) -> None:
    for words, part in (
        (("--bench", "--frames", "0"), "--frames 0 is not a number from 1 to"),
        (("--bench", "--frames", "12x"), "--frames 12x is not a number"),
        (("--frames", "12"), "give both"),
        (("--replay", "--host-noise"), "give both"),
    ):
        done = run(runner, stepped("mega"), *words)
        assert done.returncode == 2 and part in done.stderr and done.stderr.count("\n") == 1
