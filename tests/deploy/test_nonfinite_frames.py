"""A frame that holds NaN or infinity, in every place where a stream runs: Python, C++, node and the browser."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import javascript
import numpy as np
import pytest
import toolchain

import temport
from temport.custom_ops.library import library_path
from temport.exporter.errors import UserError
from temport.stream import Stream

Stepped = Callable[[str], Path]
BAD = {3: np.nan, 4: -np.inf, 11: np.nan, 19: np.inf}
"""Frames of twenty that are not finite."""
GOOD = [t for t in range(20) if t not in BAD]


@pytest.fixture
def recording() -> np.ndarray:
    frames = np.random.default_rng(9).standard_normal((1, 20, 8)).astype(np.float32)
    for t, value in BAD.items():
        frames[0, t, t % 8] = value
    return frames


def replayed(
    runner: Path, where: str, bundle: Path, frames: np.ndarray, *words: str | Path
) -> dict[str, Any]:
    """What a runner printed of a stream, with its output as `y`; files are written beside the first of `words`."""
    folder = Path(words[1]).parent
    np.save(folder / "x.npy", frames)
    files = ("--input", folder / "x.npy", "--output", folder / "y.npy", *words)
    if where == "cpp":
        done = toolchain.run(runner, bundle, "--ops", library_path() or "", *files)
    else:
        done = javascript.run(where, bundle, *files)
    assert done.returncode == 0, done.stderr
    return {**json.loads(done.stdout), "y": np.load(folder / "y.npy")}


@pytest.mark.parametrize(
    ("arch", "where"),
    [
        *((arch, where) for arch in ("mega", "sliding_window") for where in ("cpp", "node")),
        ("sliding_window", "web"),
        pytest.param("mega", "web", marks=pytest.mark.thorough),
    ],
)
def test_a_refused_frame_leaves_no_trace_but_nan_in_its_place(
    runner: Path, stepped: Stepped, tmp_path: Path, recording: np.ndarray, arch: str, where: str
) -> None:
    bundle = stepped(arch)
    told = replayed(runner, where, bundle, recording, "--save", tmp_path / "state")
    clean = replayed(runner, where, bundle, recording[:, GOOD], "--save", tmp_path / "clean")
    assert told["stream"] == {
        "frames": 20,
        "refused": len(BAD),
        "refused_frames": list(BAD),
        "poisoned": False,
    }
    assert np.isnan(told["y"][:, list(BAD)]).all()
    np.testing.assert_array_equal(told["y"][:, GOOD], clean["y"])
    assert (tmp_path / "state").read_bytes() == (tmp_path / "clean").read_bytes()
    assert clean["stream"]["refused"] == 0


@pytest.mark.parametrize("where", ["cpp", "node"])
def test_a_frame_that_is_passed_poisons_the_stream_and_that_is_said(
    runner: Path, stepped: Stepped, tmp_path: Path, recording: np.ndarray, where: str
) -> None:
    words = ("--save", tmp_path / "state", "--on-nonfinite", "pass")
    told = replayed(runner, where, stepped("mega"), recording, *words)
    assert told["stream"] == {"frames": 20, "refused": 0, "refused_frames": [], "poisoned": True}
    assert np.isfinite(told["y"][:, :3]).all() and np.isnan(told["y"][:, 3:]).any(axis=-1).all()
    stream = temport.load(stepped("mega")).stream()
    stream.restore((tmp_path / "state").read_bytes())
    assert stream.poisoned, "the state that C++ and JavaScript save is the poisoned one"


@pytest.mark.parametrize("arch", ["mega", "lightning", "sliding_window", "hybrid"])
def test_in_python(stepped: Stepped, recording: np.ndarray, arch: str) -> None:
    session = temport.load(stepped(arch))
    stream, clean = session.stream(2), session.stream(2)
    for t in range(20):
        frame = np.stack([np.ones(8, np.float32), recording[0, t]])
        before = [stream.save(entry) for entry in range(2)]
        if t in BAD:
            what = "NaN" if np.isnan(BAD[t]) else "infinity"
            with pytest.raises(temport.RefusedFrame, match=f"frame holds {what} in row 1 of the batch"):
                stream(frame)
            assert [stream.save(entry) for entry in range(2)] == before
        else:
            np.testing.assert_array_equal(stream(frame), clean(frame[:, None]))
    assert stream.save(1) == clean.save(1) and not stream.poisoned


def test_a_poisoned_entry_starts_anew_alone(stepped: Stepped) -> None:
    session = temport.load(stepped("mega"))
    stream, fresh = session.stream(2, on_nonfinite="pass"), session.stream(2)
    frame = np.ones((2, 8), np.float32)
    first = fresh(frame)
    poison = frame.copy()
    poison[1, 0] = np.nan
    stream(poison)
    assert stream.poisoned and [stream.poisoned_entry(e) for e in range(2)] == [False, True]
    stream.reset(1)
    assert not stream.poisoned
    output = stream(frame)
    np.testing.assert_array_equal(output[1], first[1])
    np.testing.assert_array_equal(output[0], fresh(frame)[0])
    stream.reset()
    np.testing.assert_array_equal(stream(frame), first)


def test_what_a_stream_in_python_refuses(stepped: Stepped, exported: Stepped) -> None:
    session = temport.load(stepped("sliding_window"))
    stream = session.stream()
    state = stream.save()
    for wrong in (np.ones((1, 1, 8)), np.ones((1, 8), np.float16), np.ones((1, 7), np.float32)):
        with pytest.raises(UserError, match=r"a frame is float32 \[1, 1, 8\]; given was float"):
            stream(wrong)
    with pytest.raises(UserError, match="4 streams at once; the model takes 1 to 3"):
        session.stream(4)
    with pytest.raises(UserError, match="there is no stream -1 among 1"):
        stream.save(-1)
    with pytest.raises(UserError, match="on_nonfinite is 'refuse' or 'pass'"):
        session.stream(on_nonfinite="ignore")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="a stream needs a step model"):
        temport.load(exported("mega")).stream()
    flipped = bytearray(state)
    flipped[50] ^= 1
    foreign = temport.load(stepped("hybrid")).stream().save()
    for damaged, why in (
        (bytes(flipped), "it is damaged"),
        (foreign, "saved with another model"),
        (state[:-1], f"it has {len(state) - 1} bytes; this model's has {len(state)}"),
        (b"", "not the saved state"),
    ):
        with pytest.raises(UserError, match=f"the state is refused: .*{why}"):
            stream.restore(damaged)
    assert stream.save() == state


def test_each_of_several_outputs_has_its_name() -> None:
    frame = {"name": "frame", "dtype": "float32", "shape": [1, 1, 2]}
    state, output = ({"name": name, "dtype": "float32", "shape": [1, 2]} for name in ("state.sum", "output"))
    signature = {
        "inputs": [frame, state],
        "outputs": [output, output | {"name": "double"}, state | {"name": "next_state.sum"}],
        "states": [{"input": "state.sum", "output": "next_state.sum"}],
    }

    def run(feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        total = feeds["state.sum"] + feeds["frame"][:, 0]
        return {"output": total, "double": 2 * total, "next_state.sum": total}

    stream = Stream(run, {"signature": signature, "files": {"model.onnx": {"sha256": "5a" * 32}}})
    for t in (1, 2):
        outputs = stream(np.ones(2, np.float32))
        assert {name: list(value[0]) for name, value in outputs.items()} == {
            "output": [t, t],
            "double": [2 * t] * 2,
        }
