"""`--target native`: what it writes, the row of the report, and who refuses an engine that is not of this bundle."""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from temport import export, load
from temport.engine import Engine, native_entry
from temport.exporter.bench.in_c import engine_in_c
from temport.exporter.bundle.digest import MANIFEST
from temport.exporter.bundle.directory import open_bundle, seal, sha256
from temport.exporter.compilers.contract import CompileOptions
from temport.exporter.errors import UserError
from temport.exporter.export import Exported
from temport.exporter.native.isa import host_isa, is_this_machine
from temport.exporter.parity.replay import DIFFERS, differing, outputs_sha256
from temport.exporter.parity.serial import read_json
from temport.exporter.recheck import run_parity_of_bundle
from temport.exporter.report.junit import junit
from temport.exporter.report.markdown import markdown, words
from temport.exporter.runtimes.subject import Subject
from temport.exporter.terminal import Terminal
from temport.exporter.verify import run_verify
from tests.native_engine.engine_of_graphs import QUICK, quick_isa
from tests.native_engine.strict import strictly

SMALL = ("embed_dim=12", "num_heads=2", "head_dim=4", "num_layers=1", "ffn_dim=20", "window_size=9")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return _export(tmp_path_factory.mktemp("native") / "small-7")


@pytest.fixture
def copied(exported: Exported, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported.path, tmp_path / "copy"))


def test_the_engine_says_the_models_numbers(exported: Exported) -> None:
    (row,) = exported.report.runtimes
    assert exported.passed and row.verdict == "pass" and row.path.startswith("native engine")


def test_what_is_written(exported: Exported) -> None:
    files = open_bundle(exported.path, strict=True).manifest["files"]
    engine = {name.removeprefix("engine/") for name in files if name.startswith("engine/")}
    assert engine == {
        "CMakeLists.txt", "kernels.h", "libsmall_7.a", "libsmall_7.so", "model.cc", "small_7.pc.in",
        "temport_engine.h", "weights.S", "weights.bin",
    }  # fmt: skip
    entry = native_entry(exported.path)
    assert set(entry["undefined"]) <= {"memcpy", "memset"}
    assert entry["memory"]["weights"] == files["engine/weights.bin"]["bytes"]
    assert 0 < entry["memory"]["stack"] < 64 << 10 and 0 < entry["code_bytes"] < 200_000


def test_the_outputs_of_a_case_are_one_number(exported: Exported) -> None:
    """A reader that runs the frames of `vectors.npz` itself comes to the recorded hash."""
    entry, hashes, suffix = native_entry(exported.path), {}, "/input/frame"
    with np.load(exported.path / "vectors.npz") as vectors:
        streams = {key.removesuffix(suffix): vectors[key] for key in vectors.files if key.endswith(suffix)}
    engine = Engine(entry, (exported.path / entry["file"]).read_bytes())
    for name, stream in streams.items():
        instance = engine.instance()
        frames = (stream[:, t : t + 1] for t in range(stream.shape[1]))
        outputs = [instance.run({"frame": frame})["output"] for frame in frames]
        hashes[name] = hashlib.sha256(np.stack(outputs, axis=1).tobytes()).hexdigest()
    assert len(streams) > 3 and entry["outputs_sha256"] == hashes
    assert entry["fuses"] == host_isa().fuses
    (row,) = exported.report.runtimes
    assert {result.case: result.outputs_sha256 for result in row.results} == hashes


def test_the_hash_of_outputs_is_that_of_c_plus_plus() -> None:
    """The same arrays are in deploy/cpp/tests/test_outputs_hash.cpp; every NaN counts as the same one."""
    singles = np.array([0x3F800000, 0xFFC12345, 0x7FC00000, 0xFF800000], np.uint32).view(np.float32)
    halves = np.array([0xFE01, 0x4000], np.uint16).view(np.float16)
    assert outputs_sha256({"a": singles, "b": halves, "c": np.array([7])}) == (
        "c77c4b08875b025096be43512130cc4430867214dcf001639d4d184657b65e8d"
    )


def test_another_last_bit_is_seen(
    exported: Exported, copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Far within every bound, in a weight or in the order of a sum: only the recorded hash tells."""
    assert run_verify(exported.path)
    assert f"computes in {len(exported.report.cases)} recorded cases" in capsys.readouterr().out
    _flip_largest_weight(copied, byte=0, bit=1)
    assert not run_parity_of_bundle(copied, ["native_engine"], out=copied / "again")
    (row,) = read_json(copied / "again/report.json").runtimes
    reasons = {output.reason for result in row.results for output in result.outputs.values()}
    assert DIFFERS in reasons and {r.verdict for r in row.results if r.outputs["output"].reason} == {"fail"}
    count, cases = differing(Subject(open_bundle(copied).declaration, copied / "model.onnx", None))
    assert count == len(exported.report.cases) and cases


def test_a_flipped_weight_is_seen(copied: Path) -> None:
    """In the library itself, with hashes that fit: only the numbers tell."""
    _flip_largest_weight(copied, byte=3, bit=0x80)
    _seal(copied, outputs_sha256={})
    assert not run_parity_of_bundle(copied, ["native_engine"], console=Terminal(quiet=True))


def _flip_largest_weight(copied: Path, byte: int, bit: int) -> None:
    library = copied / native_entry(copied)["file"]
    dense = next(n for n in onnx.load(copied / "model.onnx").graph.node if n.op_type == "FusedDense")
    held = {t.name: numpy_helper.to_array(t) for t in onnx.load(copied / "model.onnx").graph.initializer}
    weight = held[dense.input[1]]
    largest = weight.flat[np.argmax(np.abs(weight))].tobytes()
    content = bytearray(library.read_bytes())
    content[content.find(largest, content.find((copied / "engine/weights.bin").read_bytes())) + byte] ^= bit
    library.write_bytes(bytes(content))
    _seal(copied, sha256=sha256(library))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"sha256": "0" * 64}, "differs from engine.json"),
        ({"model_sha256": "0" * 64}, "from another model.onnx"),
        ({"isa": "neon" if host_isa().name != "neon" else "avx2"}, "is for"),
        ({"isa": "portable", "machine": "riscv64"}, "is for riscv64 with portable"),
        ({"versions": {"temport": "0.0.1"}}, "written by temport 0.0.1"),
        ({"file": ""}, "source of a native engine only"),
        ({"target": "another"}, "has no native engine"),
    ],
)
def test_an_engine_of_something_else_is_refused(copied: Path, change: dict[str, Any], told: str) -> None:
    _seal(copied, **change)
    with pytest.raises(UserError, match=told):
        Engine.beside(copied)


@pytest.mark.parametrize(
    ("target", "machine", "same"),
    [("arm", "armv7l", True), ("i486", "i686", True), ("arm", "aarch64", False), ("arm", "arm64", False)],
)
def test_a_processor_has_the_name_that_a_compiler_gives_it(
    target: str, machine: str, same: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert is_this_machine(target) == same


def test_frames_that_are_not_finite(exported: Exported) -> None:
    """Refused, and the state is as it was; let through where that is asked."""
    rng = np.random.default_rng(3)
    frames = rng.standard_normal((6, 1, 1, 12)).astype(np.float32)
    engine = Engine.beside(exported.path)
    undisturbed, disturbed = engine.instance(), engine.instance()
    for frame in frames:
        for bad in (np.nan, np.inf):
            broken = frame.copy()
            broken[0, 0, 5] = bad
            with pytest.raises(FloatingPointError):
                disturbed.run({"frame": broken}, pass_nonfinite=False)
        want, got = undisturbed.run({"frame": frame}), disturbed.run({"frame": frame}, pass_nonfinite=False)
        np.testing.assert_array_equal(want["output"], got["output"])
    assert np.isnan(disturbed.run({"frame": np.full_like(frames[0], np.nan)})["output"]).any()


def test_a_session_takes_the_engine(exported: Exported, copied: Path) -> None:
    """The same frames and the same bytes of state, whatever runs them."""
    native, peer = load(exported.path), load(exported.path, runtime="onnxruntime")
    assert native.kernels.startswith("native engine") and "engine" not in peer.kernels
    streams = native.stream(), peer.stream()
    rng = np.random.default_rng(5)
    for frame in rng.standard_normal((23, 1, 12)).astype(np.float32):
        np.testing.assert_allclose(*(stream(frame) for stream in streams), rtol=0, atol=1e-5)
    states = [stream.save() for stream in streams]
    assert len(states[0]) == len(states[1]) and states[0][:40] == states[1][:40]
    for stream, state in zip(streams, reversed(states), strict=True):
        stream.restore(state)
    frame = rng.standard_normal((1, 12)).astype(np.float32)
    np.testing.assert_allclose(*(stream(frame) for stream in streams), rtol=0, atol=1e-5)
    inputs = {n: np.zeros(shape, dtype) for n, (dtype, shape) in native.inputs.items()}
    for name, output in native(inputs).items():
        np.testing.assert_allclose(output, peer(inputs)[name], rtol=0, atol=1e-5)
    _seal(copied, isa="neon" if host_isa().name != "neon" else "avx2")
    assert "engine" not in load(copied).kernels
    with pytest.raises(UserError, match="is for"):
        load(copied, runtime="native")
    _seal(copied, isa=host_isa().name, versions={"temport": "0.0.1"})
    with pytest.raises(UserError, match=r"written by temport 0\.0\.1"):
        load(copied)


def test_a_loop_in_c_runs_as_many_frames(exported: Exported) -> None:
    """As benchmarks call an engine."""
    engine = Engine.beside(exported.path)
    frame = np.random.default_rng(6).standard_normal((1, 1, 12)).astype(np.float32)
    once, looped = engine.instance(), engine.instance()
    call = engine_in_c(looped, {"frame": frame})
    for count in (1, 5):
        for _ in range(count):
            want = once.run({"frame": frame})["output"]
        call.__dict__["repeat"](count - 1)
        np.testing.assert_array_equal(call(), want)


def test_states_go_out_and_come_in(exported: Exported) -> None:
    engine = Engine.beside(exported.path)
    rng = np.random.default_rng(4)
    first, second = engine.instance(), engine.instance()
    for frame in rng.standard_normal((13, 1, 1, 12)).astype(np.float32):
        first.run({"frame": frame})
    second.load(first.store({"batch": 1}), {"batch": 1})
    frame = rng.standard_normal((1, 1, 12)).astype(np.float32)
    np.testing.assert_array_equal(
        first.run({"frame": frame})["output"], second.run({"frame": frame})["output"]
    )
    for name, state in first.store({"batch": 1}).items():
        np.testing.assert_array_equal(state, second.store({"batch": 1})[name])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"engine_isa": "avx3"}, "--engine-isa 'avx3' is unknown"),
        ({"cc": "no-such-compiler"}, "--cc no-such-compiler is no command"),
        ({"toolchain": Path("no-such-file")}, "--toolchain no-such-file is no file"),
        ({"toolchain": Path(__file__), "cc": "c++"}, "--toolchain names a compiler, and so does --cc"),
        ({"engine_isa": "neon" if host_isa().name != "neon" else "avx2"}, "is not of this machine"),
        ({"workspace_mib": 5}, "native has no --workspace-mib"),
        ({"build_timeout": 5}, "native has no --build-timeout"),
    ],
)
def test_what_cannot_be_built_is_refused_first(options: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=told):
        export("mega", out=tmp_path / "b", target="native", compile=CompileOptions(**options))
    assert not any(tmp_path.iterdir())


def test_a_compiler_that_fails_says_why(tmp_path: Path) -> None:
    broken = tmp_path / "broken-cc"
    broken.write_text("#!/bin/sh\necho model.cc:1: no >&2\nexit 3\n")
    broken.chmod(0o755)
    with pytest.raises(UserError, match=r"(?s)failed with exit status 3.*model.cc:1: no"):
        _export(tmp_path / "b", cc=str(broken))
    assert not (tmp_path / "b").exists()


def test_source_only_compiles_nothing(tmp_path: Path) -> None:
    """Nor does the verdict of the rows that ran cover it, whichever were asked for."""
    exported = _export(tmp_path / "b", runtimes=("onnxruntime_cpu",), source_only=True, engine_isa="neon")
    assert not list(exported.path.glob("engine/*.so")) and (exported.path / "engine/model.cc").is_file()
    assert [row.verdict for row in exported.report.runtimes] == ["pass", "not run"] and exported.passed
    (told,) = exported.report.unjudged
    assert told.startswith("engine native was not judged here: the bundle has the source of a native engine")


def test_an_engine_of_another_machine_is_not_taken_for_proved(
    copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _seal(copied, isa="portable", machine="riscv64")
    told = "engine native was not judged here: the native engine is for riscv64 with portable"
    assert run_parity_of_bundle(copied, ["native_engine", "onnxruntime_cpu"], out=tmp_path / "again")
    assert f"parity pass {told}" in " ".join(capsys.readouterr().out.split())
    report = read_json(tmp_path / "again/report.json")
    assert report.unjudged == (report.runtimes[0].unjudged,) and report.unjudged[0].startswith(told)
    assert told in (tmp_path / "again/report.html").read_text()
    assert f'<skipped message="{told}' in junit(report) and words(told) in markdown(report)


def test_an_engine_of_this_machine_that_is_not_run_fails(copied: Path) -> None:
    """Whatever the others say of the file: here the loader does not take the library."""
    library = copied / native_entry(copied)["file"]
    library.write_bytes(b"no library")
    _seal(copied, sha256=sha256(library))
    out = copied.with_name("again")
    assert not run_parity_of_bundle(copied, ["native_engine", "onnxruntime_cpu"], out=out)
    report = read_json(out / "report.json")
    (reason,) = report.reasons
    assert reason.startswith("native_engine: engine native is for this machine and was not run: ")
    assert "cannot be loaded" in reason and [row.verdict for row in report.runtimes] == ["fail", "pass"]


def test_an_engine_of_bfloat16_is_judged(tmp_path: Path) -> None:
    """Whose tensors it holds in float32."""
    compiler = strictly(tmp_path, *QUICK.split())
    done = export(
        "mega",
        out=tmp_path / "b",
        settings=("embed_dim=8", "hidden_size=8", "ema_dim=4", "num_layers=1"),
        seq=4,
        precision="bf16",
        runtimes=("native_engine",),
        target="native",
        compile=CompileOptions(cc=compiler, engine_isa=quick_isa()),
    )
    assert done.passed and [row.verdict for row in done.report.runtimes] == ["pass"]


def _export(out: Path, runtimes: tuple[str, ...] = ("native_engine",), **options: Any) -> Exported:
    return export(
        "sliding_window",
        out=out,
        settings=SMALL,
        seq=9,
        streaming=True,
        runtimes=runtimes,
        target="native",
        compile=CompileOptions(**options),
    )


def _seal(path: Path, **changes: Any) -> None:
    """Other words in `engine.json`, and a manifest whose hashes fit what is there."""
    report = json.loads((path / "engine.json").read_text())
    report["engines"][0] |= changes
    (path / "engine.json").write_text(json.dumps(report))
    manifest = json.loads((path / MANIFEST).read_text())
    for name, file in manifest["files"].items():
        file |= {"sha256": sha256(path / name), "bytes": (path / name).stat().st_size}
    seal(path, manifest)
