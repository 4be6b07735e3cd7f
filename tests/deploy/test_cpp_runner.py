"""temport-run on real bundles: it agrees with the oracle, refuses what is damaged, and speaks in sentences."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from small_bundles import rehash
from toolchain import build_runner, call, run

from temport.custom_ops.library import library_description, library_path
from temport.exporter.bundle.directory import open_bundle, seal
from temport.exporter.errors import UserError
from temport.exporter.parity.gate import gate
from temport.exporter.parity.run import run_runtime
from temport.exporter.parity.serial import runtime_row
from temport.exporter.parity.vectors import read_vectors
from temport.exporter.runtimes import runtime_named
from temport.exporter.runtimes.libraries import onnxruntime_library
from temport.exporter.runtimes.runner import LocalRunner, replay
from temport.exporter.runtimes.subject import Subject

Exported = Callable[[str], Path]


def refusal(*command: str | Path) -> str:
    """The one sentence with which a command is refused."""
    done = run(*command)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stdout == "" and done.stderr.count("\n") == 1
    return done.stderr.removeprefix("error: ").strip()


@pytest.mark.parametrize("ops", ["none", "native"])
@pytest.mark.parametrize("arch", ["mega", "dms"])
def test_replay_agrees_with_the_oracle(runner: Path, exported: Exported, arch: str, ops: str) -> None:
    chosen = "none" if ops == "none" else library_path()
    assert chosen is not None, "the native op library was not built"
    done = run(runner, exported(arch), "--replay", "--ops", chosen)
    assert done.returncode == 0, done.stdout + done.stderr
    printed = json.loads(done.stdout)
    row = runtime_row(printed["runtimes"][0])
    assert row.verdict == "pass"
    assert {result.case for result in row.results} == {
        truth.case.name for truth in read_vectors(exported(arch) / "vectors.npz")
    }
    assert row.path == (
        "function body" if ops == "none" else f"native kernels {library_description(Path(chosen))}"
    )


def test_measures_are_those_of_the_report(
    runner: Path, exported: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same arrays through the Python comparison give the same numbers."""
    monkeypatch.setenv("TEMPORT_RUN", str(runner))
    bundle = open_bundle(exported("mega"))
    subject = Subject(bundle.declaration, bundle.model_path)
    truths = read_vectors(bundle.path / "vectors.npz")
    theirs = run_runtime(subject, runtime_named("cpp"), truths)
    done = run(runner, bundle.path, "--replay", "--ops", library_path() or "none")
    ours = runtime_row(json.loads(done.stdout)["runtimes"][0])
    assert theirs.verdict == "pass" and gate([ours])[0] == "pass"
    by_case = {result.case: result for result in ours.results}
    for expected in theirs.results:
        for name, row in expected.outputs.items():
            other = by_case[expected.case].outputs[name]
            assert other.max_abs == row.max_abs
            for measure in ("max_rel", "rms_ratio", "cosine"):
                assert getattr(other, measure) == pytest.approx(getattr(row, measure), rel=1e-9)
            assert other.quantiles == pytest.approx(row.quantiles, rel=1e-9)


def test_a_wrong_weight_is_seen(runner: Path, bundle: Path) -> None:
    model = onnx.load(bundle / "model.onnx")
    weight = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    values = np.frombuffer(weight.raw_data, np.float32).copy()
    values[0] += 0.5
    weight.raw_data = values.tobytes()
    onnx.save(model, bundle / "model.onnx")
    assert "SHA-256" in refusal(runner, bundle, "--replay") or "bytes" in refusal(runner, bundle, "--replay")
    rehash(bundle)
    done = run(runner, bundle, "--replay")
    assert done.returncode == 1
    assert json.loads(done.stdout)["runtimes"][0]["verdict"] == "fail"
    with pytest.raises(UserError, match="print"):
        replay(LocalRunner(Path("/bin/true")), bundle)
    assert gate([runtime_row(row) for row in replay(LocalRunner(runner), bundle)])[0] == "fail"


@pytest.mark.parametrize("batch", [1, 5], ids="B{}".format)
def test_one_inference_from_file_to_file(
    runner: Path, exported: Exported, tmp_path: Path, batch: int
) -> None:
    import onnxruntime

    frames = np.random.default_rng(0).standard_normal((batch, 12, 8)).astype(np.float32)
    np.save(tmp_path / "x.npy", frames)
    model = exported("mega") / "model.onnx"
    done = run(
        runner,
        exported("mega"),
        "--ops",
        "none",
        "--input",
        tmp_path / "x.npy",
        "--output",
        tmp_path / "y.npy",
    )
    assert done.returncode == 0, done.stderr
    (expected,) = onnxruntime.InferenceSession(model).run(None, {"state_sequence": frames})
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), expected, rtol=0, atol=16 * 2.0**-23)


def test_bad_input_files_get_a_sentence(runner: Path, exported: Exported, tmp_path: Path) -> None:
    def said(array: np.ndarray, *more: str) -> str:
        np.save(tmp_path / "x.npy", array, allow_pickle=True)
        y = tmp_path / "y.npy"
        return refusal(runner, exported("mega"), "--input", tmp_path / "x.npy", "--output", y, *more)

    good = np.zeros((1, 12, 8), np.float32)
    assert "[2, 8]; state_sequence is float32 of rank 3" in said(np.zeros((2, 8), np.float32))
    assert "float64" in said(good.astype(np.float64))
    assert "axis 2 of state_sequence is 7; the model takes 8" in said(np.zeros((1, 12, 7), np.float32))
    assert "axis batch is 6; the model takes 1 to 5" in said(np.zeros((6, 12, 8), np.float32))
    assert "axis batch is 0; the model takes 1 to 5" in said(np.zeros((0, 12, 8), np.float32))
    assert "|O" in said(np.array([None]))
    assert "Fortran" in said(np.asfortranarray(np.zeros((2, 12, 8), np.float32)))
    assert "other is not one of output" in said(good, "--output", "other=z.npy")
    assert "no option --fast" in said(good, "--fast", "1")


def test_options_that_cannot_be_met_get_a_sentence(runner: Path, exported: Exported, tmp_path: Path) -> None:
    bundle = exported("mega")
    assert "is not a bundle" in refusal(runner, tmp_path)
    assert "ONNX Runtime is not here" in refusal(runner, bundle, "--library", "/nonexistent.so")
    assert "op library cannot be loaded" in refusal(runner, bundle, "--ops", "/nonexistent.so")
    assert "was not found" in refusal(runner, bundle, "--runtime", "tensorrt")
    assert "runtime abacus is not one of" in refusal(runner, bundle, "--runtime", "abacus")
    assert "--threads 0 is not a number from 1" in refusal(runner, bundle, "--threads", "0")
    assert "--threads 2x is not a number from 1" in refusal(runner, bundle, "--threads", "2x")
    assert "go together" in refusal(runner, bundle, "--input", "x.npy")


@pytest.mark.parametrize("file", ["model.onnx", "vectors.npz"])
@pytest.mark.parametrize("damage", ["flip", "cut", "grow", "remove"])
def test_a_damaged_file_is_refused(runner: Path, bundle: Path, file: str, damage: str) -> None:
    path = bundle / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    match damage:
        case "flip":
            path.write_bytes(content)
        case "cut":
            path.write_bytes(content[:-9])
        case "grow":
            path.write_bytes(bytes(content) + b"\0")
        case "remove":
            path.unlink()
    said = refusal(runner, bundle, "--replay")
    assert file in said
    with pytest.raises(UserError):
        open_bundle(bundle)


@pytest.mark.parametrize("file", ["manifest.json", "model.onnx", "vectors.npz"])
def test_a_link_in_a_file_s_place_is_refused(runner: Path, bundle: Path, file: str) -> None:
    """Even to the very bytes: C++ and Python agree."""
    outside = bundle.parent / file
    (bundle / file).rename(outside)
    (bundle / file).symlink_to(outside)
    assert f"{file} is a symbolic link" in refusal(runner, bundle, "--replay")
    with pytest.raises(UserError, match=f"{file} (is a symbolic link|of its own)"):
        open_bundle(bundle)


def test_a_bundle_that_is_not_the_expected_one(runner: Path, bundle: Path) -> None:
    digest = open_bundle(bundle).digest
    done = run(runner, bundle, "--digest", digest, "--strict")
    assert done.returncode == 0 and json.loads(done.stdout)["digest"] == digest
    assert f"its digest is {digest}, expected was 00" in refusal(runner, bundle, "--digest", "00")
    assert "--digest is empty" in refusal(runner, bundle, "--digest", "")
    (bundle / "more").write_text("")
    assert "more is not listed in the manifest" in refusal(runner, bundle, "--strict")


def test_an_engine_is_checked_like_every_file(runner: Path, bundle: Path) -> None:
    engine = bundle / "engine.tensorrt.plan"
    engine.write_bytes(b"engine")
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["files"][engine.name] = {"sha256": "0" * 64, "bytes": 6}
    seal(bundle, manifest)
    assert f"{engine.name} differs from its manifest" in refusal(runner, bundle)
    rehash(bundle)
    assert run(runner, bundle).returncode == 0


def test_a_bundle_of_another_time_or_shape_is_refused(runner: Path, bundle: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    rehash(bundle, format=2)
    assert "at format, it is not one of [1]" in refusal(runner, bundle)
    rehash(bundle, format=1, semantics=2)
    assert "at semantics, it is not one of [1]" in refusal(runner, bundle)
    signature = json.loads(json.dumps(manifest["signature"]).replace("state_sequence", "frames"))
    rehash(bundle, format=1, semantics=1, signature=signature)
    assert "signature is not the manifest's" in refusal(runner, bundle)
    rehash(bundle, signature=manifest["signature"], files={"../model.onnx": manifest["files"]["model.onnx"]})
    assert "at files/../model.onnx, it is spelled in a way that is refused" in refusal(runner, bundle)
    seal(bundle, {})
    assert "it has no format" in refusal(runner, bundle)


def test_a_graph_that_is_not_what_it_says_is_refused(runner: Path, bundle: Path) -> None:
    """The metadata agree with the manifest, the graph does not: seen when the runtime has loaded it."""
    model = onnx.load(bundle / "model.onnx")
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 17
    cast = onnx.helper.make_node("Pad", [model.graph.output[0].name, "pads"], ["wider"])
    model.graph.node.append(cast)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([0, 0, 0, 1]), "pads"))
    model.graph.output[0].name = "wider"
    (bundle / "model.onnx").write_bytes(model.SerializeToString())
    rehash(bundle)
    assert "has wider in the place of output" in refusal(runner, bundle)


def test_nothing_is_allocated_per_inference(exported: Exported) -> None:
    program = build_runner() / "tests" / "temport_allocations"
    printed = json.loads(call(program, exported("mega"), onnxruntime_library() or "", "none"))
    assert printed["ours"] == 0
    assert printed["runtime"] > 0, "the hook has to see the runtime's own allocations"


def test_help_is_the_usage(runner: Path) -> None:
    done = run(runner, "--help")
    assert done.returncode == 0 and done.stdout.startswith("usage: temport-run BUNDLE")
