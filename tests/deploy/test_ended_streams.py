"""A table of learned positions ends, and so does the stream: the frame after it is refused, in every reader."""

from __future__ import annotations

from pathlib import Path
from subprocess import CompletedProcess

import javascript
import numpy as np
import onnx
import pytest
import toolchain

import temport
from temport.exporter.bundle.directory import open_bundle

ROWS, CUT = 12, 8
SAID = f"stream 0 of the batch has had {ROWS} frames, and the model has positions for no more; reset starts it anew"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The running sum of frames and their positions, of which there are twelve."""
    folder = tmp_path_factory.mktemp("ended")
    model = onnx.parser.parse_model(
        """<ir_version: 9, opset_import: ["" : 18]> f (float[1, seq, 4] x) => (float[1, seq, 4] y) {
        n = Shape <start = 1, end = 2> (x) p = Slice (table, zero, n, zero) a = Add (x, p) y = CumSum (a, axis)}"""
    )
    table = np.random.default_rng(0).standard_normal((ROWS, 4)).astype(np.float32)
    weights = {"table": table, "zero": np.array([0]), "axis": np.array(1)}
    model.graph.initializer.extend(onnx.numpy_helper.from_array(a, n) for n, a in weights.items())
    onnx.save(model, folder / "table.onnx")
    made = temport.export(
        onnx=folder / "table.onnx",
        streaming=True,
        seq=f"1:9:{ROWS}",
        runtimes=("onnxruntime_cpu",),
        out=folder / "bundle",
    )
    assert made.passed, made.report.reasons
    assert open_bundle(made.path).manifest["stream"]["frames"] == ROWS
    return made.path


def frames(count: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((1, count, 4)).astype(np.float32)


def test_python_refuses_the_frame_after_the_last(bundle: Path) -> None:
    stream = temport.load(bundle).stream()
    given = [stream(frame[None, None]) for frame in frames(ROWS)[0]]
    before = stream.save()
    with pytest.raises(temport.EndedStream, match=SAID):
        stream(frames(1))
    assert stream.save() == before
    stream.reset(0)
    np.testing.assert_array_equal(stream(frames(1)), given[0])
    stream.restore(before)
    with pytest.raises(temport.EndedStream):
        stream(frames(1))


def fed(runner: Path, where: str, bundle: Path, count: int, *words: str | Path) -> CompletedProcess[str]:
    np.save(bundle.parent / "x.npy", frames(count))
    words = ("--input", bundle.parent / "x.npy", "--output", bundle.parent / "y.npy", *words)
    run = javascript.run if where == "node" else toolchain.run
    return run(*(("node",) if where == "node" else (runner,)), bundle, *words)


@pytest.mark.parametrize("where", ["cpp", "node"])
def test_other_readers_refuse_it_too(runner: Path, where: str, bundle: Path, tmp_path: Path) -> None:
    """Also of a stream that went on from what another had saved."""
    stream = temport.load(bundle).stream()
    for frame in frames(CUT)[0]:
        stream(frame[None, None])
    (tmp_path / "state").write_bytes(stream.save())
    for count, words in ((ROWS, ()), (ROWS - CUT, ("--restore", tmp_path / "state"))):
        assert fed(runner, where, bundle, count, *words).returncode == 0
        done = fed(runner, where, bundle, count + 1, *words)
        assert done.returncode != 0 and SAID in done.stderr


@pytest.mark.parametrize("where", ["cpp", pytest.param("node", marks=pytest.mark.thorough)])
def test_a_benchmark_begins_anew_at_the_end(runner: Path, where: str, bundle: Path) -> None:
    run = javascript.run if where == "node" else toolchain.run
    words = ("--bench", "--frames", "100")
    assert run(*(("node",) if where == "node" else (runner,)), bundle, *words).returncode == 0
