"""Bundles with a native engine in temport-run, C++ and node: no runtime is opened, and its states are anybody's."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import javascript
import numpy as np
import pytest
import torch
from engine_table import LIBRARY, Engine
from small_bundles import add_native_engine, rehash
from toolchain import build_runner, call, run
from torch import nn

import temport
from temport.exporter.export import export
from temport.exporter.parity.replay import DIFFERS
from temport.exporter.runtimes.libraries import runner_environment

OK, NO_ENTRY, NO_STATE, OTHER_MODEL, DAMAGED = 0, 3, 7, 8, 9
"""Codes of temport_engine.h."""
Row = dict[str, str]


@pytest.fixture(scope="module")
def stepping(stepped: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A step model with an engine for this machine; shared, so do not write into it."""
    bundle = tmp_path_factory.mktemp("engines") / "step"
    shutil.copytree(stepped("sliding_window"), bundle)
    add_native_engine(bundle)
    return bundle


@pytest.fixture
def own(stepping: Path, tmp_path: Path) -> Path:
    """One to damage."""
    return Path(shutil.copytree(stepping, tmp_path / "own"))


def replayed(runner: Path, bundle: Path, *words: str, **environment: str) -> Row:
    """The row of a replay that passes."""
    done = subprocess.run(
        [runner, bundle, "--replay", "--strict", *words],
        env={**runner_environment(), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[:500] + done.stderr
    printed = json.loads(done.stdout)
    (row,) = printed["runtimes"]
    assert row["verdict"] == "pass"
    return {
        "runtime": printed["runtime"],
        "library": printed["library"],
        "path": row["path"],
        "said": done.stderr,
    }


def refusal(runner: Path, bundle: Path, *words: str) -> str:
    done = run(runner, bundle, "--replay", *words)
    assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def test_a_stream_needs_no_runtime(runner: Path, stepping: Path) -> None:
    """At every frame of streams of one and of three; the loader says what was opened."""
    row = replayed(runner, stepping, LD_DEBUG="files")
    assert row["path"].startswith(f"native engine {temport.__version__}, ")
    assert (row["runtime"], row["library"]) == ("native", "libsmall.so")
    assert "/proc/self/fd/" in row["said"] and "onnxruntime" not in row["said"]
    assert replayed(runner, stepping, "--runtime", "onnxruntime")["path"].startswith("native kernels")
    assert replayed(runner, stepping, "--ops", "none")["path"] == "function body"
    (entry,) = json.loads((stepping / "engine.json").read_text())["engines"]
    of_the_linker = {"_GLOBAL_OFFSET_TABLE_"}
    assert set(entry["undefined"]) - of_the_linker <= {"memcpy", "memset"}
    program = build_runner() / "tests" / "temport_allocations"
    assert json.loads(call(program, stepping, "", "")) == {"runs": 100, "ours": 0, "runtime": 0}


@pytest.mark.parametrize("program", ["temport-run", "node"])
def test_other_bytes_than_the_recorded_ones_fail(runner: Path, own: Path, program: str) -> None:
    """However near they are to the truth."""
    report = json.loads((own / "engine.json").read_text())
    hashes = report["engines"][0]["outputs_sha256"]
    name = next(iter(hashes))
    hashes[name] = "0" * 64
    (own / "engine.json").write_text(json.dumps(report))
    rehash(own)
    words = [str(own), "--replay", "--runtime", "native"]
    done = run(runner, *words) if program == "temport-run" else javascript.run("node", *words)
    (row,) = json.loads(done.stdout)["runtimes"]
    assert done.returncode == 1 and row["verdict"] == "fail"
    assert [result["case"] for result in row["results"] if result["verdict"] == "fail"] == [name]
    reasons = {output["reason"] for result in row["results"] for output in result["outputs"].values()}
    assert DIFFERS in reasons and len(reasons) == 2


def test_a_window_needs_no_runtime(runner: Path, tmp_path: Path) -> None:
    module = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.LayerNorm(16), nn.Linear(16, 4))
    exported = export(
        module,
        {"input": torch.zeros(2, 5, 6)},
        axes={"input": {0: "batch"}},
        ranges={"batch": (1, 2, 4)},
        runtimes=("onnxruntime_cpu",),
        target="native",
        out=tmp_path / "window",
    )
    assert exported.passed
    nowhere = {name: "/nowhere" for name in ("TEMPORT_ONNXRUNTIME_LIBRARY", "TEMPORT_OPS_LIBRARY")}
    assert replayed(runner, exported.path, "--runtime", "native", **nowhere)["library"] == "libwindow.so"


def test_node_runs_the_engine(stepping: Path, own: Path) -> None:
    done = javascript.run("node", stepping, "--runtime", "native", "--replay")
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert printed["path"].startswith(f"native engine {temport.__version__}, ")
    assert printed["runtimes"][0]["verdict"] == "pass"
    call("node", Path(__file__).parent / "native_streams.mjs", stepping)
    assert "one thread" in javascript.refusal("node", own, "--runtime", "native", "--threads", "2")
    assert "browsers run WebAssembly" in javascript.refusal("web", own, "--runtime", "native")
    report = (own / "engine.json").read_text()
    for word, other, said in (
        ('"native"', '"none"', "the bundle has no native engine"),
        ('"isa": "', '"isa": "un', "which this one is not"),
        ('"machine": "', '"machine": "un', "which this one is not"),
        ('"model_sha256": "', '"model_sha256": "0', "from another model"),
        (f'"temport": "{temport.__version__}"', '"temport": "9"', "is not what engine.json says"),
    ):
        assert word in report
        (own / "engine.json").write_text(report.replace(word, other))
        rehash(own)
        assert said in javascript.refusal("node", own, "--runtime", "native")


def test_a_state_goes_on_with_an_engine_and_without(runner: Path, stepping: Path, tmp_path: Path) -> None:
    """And in node, whose engine is the very same: so are the bytes."""
    frames = np.random.default_rng(3).standard_normal((1, 30, 8)).astype(np.float32)

    def fed(runtime: str, part: np.ndarray, *words: str | Path) -> np.ndarray:
        np.save(tmp_path / "x.npy", part)
        files = ("--input", tmp_path / "x.npy", "--output", tmp_path / "y.npy")
        if runtime == "node":
            done = javascript.run("node", stepping, "--runtime", "native", *files, *words)
        else:
            done = run(runner, stepping, "--runtime", runtime, *files, *words)
        assert done.returncode == 0, done.stderr
        return np.asarray(np.load(tmp_path / "y.npy"))

    whole = fed("native", frames)
    for before, after in (("native", "onnxruntime"), ("onnxruntime", "native"), ("node", "native")):
        fed(before, frames[:, :13], "--save", tmp_path / before)
        rest = fed(after, frames[:, 13:], "--restore", tmp_path / before)
        np.testing.assert_allclose(rest, whole[:, 13:], rtol=0, atol=16 * 2.0**-23 * np.abs(whole).max())
    assert (tmp_path / "node").read_bytes() == (tmp_path / "native").read_bytes()
    assert np.abs(fed("native", frames[:, 13:]) - whole[:, 13:]).max() > 1e-3


def test_the_engine_itself_saves_and_restores_the_same_bytes(stepping: Path) -> None:
    """Of each entry of a batch, with other bytes before and behind; those of Python are the truth."""
    stream, engine = temport.load(stepping).stream(3), Engine(stepping, 3)
    for frame in np.random.default_rng(4).standard_normal((20, 3, 8)).astype(np.float32):
        stream(frame)
    states = [stream.save(entry) for entry in range(3)]
    assert len(set(states)) == 3
    for entry, state in enumerate(states):
        assert engine.restore(2 - entry, state) == OK
    saved = [engine.save(2 - entry) for entry in range(3)]
    assert saved == [(OK, state) for state in states]

    def flipped(at: int) -> bytes:
        return states[0][:at] + bytes([states[0][at] ^ 1]) + states[0][at + 1 :]

    for wrong, code in (
        (b"", NO_STATE),
        (flipped(0), NO_STATE),
        (flipped(8), OTHER_MODEL),
        (flipped(39), OTHER_MODEL),
        (flipped(40), DAMAGED),
        (flipped(-1 % len(states[0])), DAMAGED),
        (states[0][:-1], DAMAGED),
        (states[0][:20], OTHER_MODEL),
        (states[0] + b"\0", DAMAGED),
    ):
        assert engine.restore(1, wrong) == code
    assert {engine.restore(entry, states[0]) for entry in (-1, 3)} == {engine.save(3)[0]} == {NO_ENTRY}
    assert [engine.save(2 - entry) for entry in range(3)] == saved


def test_what_is_not_for_here_is_refused(runner: Path, own: Path) -> None:
    """And what is only for another processor is left to ONNX Runtime, unless it is asked for."""
    report = json.loads((own / "engine.json").read_text())
    (entry,) = report["engines"]

    def say(**changes: object) -> None:
        (own / "engine.json").write_text(json.dumps({**report, "engines": [{**entry, **changes}]}))
        rehash(own)

    say(isa="neon" if os.uname().machine == "x86_64" else "avx512")
    assert replayed(runner, own)["runtime"] == "onnxruntime"
    assert "which this one is not" in refusal(runner, own, "--runtime", "native")
    say(isa="portable", machine="riscv64")  # code without intrinsics is code of one machine all the same
    assert replayed(runner, own)["runtime"] == "onnxruntime"
    assert "is for machines called riscv64" in refusal(runner, own, "--runtime", "native")
    say(isa="portable", file="")
    assert replayed(runner, own)["runtime"] == "onnxruntime"
    assert "has no native engine" in refusal(runner, own, "--runtime", "native")
    say(versions={"temport": "9.9"})
    assert "was compiled by temport 9.9, and this is" in refusal(runner, own)
    say(model_sha256="0" * 64)
    assert "from another model" in refusal(runner, own)
    say()
    library = bytearray((own / LIBRARY).read_bytes())
    library[len(library) // 2] ^= 1
    (own / LIBRARY).write_bytes(library)
    assert f"{LIBRARY} differs from its manifest" in refusal(runner, own)
    (own / LIBRARY).unlink()
    assert f"{LIBRARY} cannot be opened" in refusal(runner, own)
