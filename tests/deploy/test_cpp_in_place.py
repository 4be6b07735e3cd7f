"""Caches that are held once: a stream of the C++ library with native kernels, on the real runtime."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper
from small_bundles import rehash, resign
from toolchain import build_runner

from temport.custom_ops.library import library_path
from temport.exporter.bundle.directory import MANIFEST, open_bundle
from temport.exporter.runtimes.libraries import onnxruntime_library

Stepped = Callable[[str], Path]
Frames = npt.NDArray[np.float32]
POISON = np.float32(1e6)
CACHES = 12
"""Frames that the caches of the small bundles keep at most."""


def fail_on_poison(bundle: Path) -> None:
    """A last node that fails on frames with values of `POISON`: after every layer has written its state."""
    model = onnx.load(bundle / "model.onnx")
    (last,) = [node for node in model.graph.node if "output" in node.output]
    last.output[list(last.output).index("output")] = "test.whole"
    for name, value in (("test.limit", POISON / 2), ("test.zero", 0.0), ("test.only_row", [1.0])):
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(value, np.float32), name))
    results = [o.name for o in model.graph.output if o.type.tensor_type.elem_type == TensorProto.FLOAT]
    nodes = [
        helper.make_node("Greater", ["frame", "test.limit"], ["test.is_poison"]),
        helper.make_node("Cast", ["test.is_poison"], ["test.as_numbers"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["test.as_numbers"], ["test.poisoned"], keepdims=0),
    ]
    waited = ["test.poisoned"]
    for name in ["test.whole", *(name for name in results if name != "output")]:
        nodes.append(helper.make_node("Mul", [name, "test.zero"], [f"test.zeros.{name}"]))
        nodes.append(helper.make_node("ReduceMax", [f"test.zeros.{name}"], [f"test.zero.{name}"], keepdims=0))
        waited.append(f"test.zero.{name}")
    nodes += [
        helper.make_node("Sum", waited, ["test.row"]),
        helper.make_node("Cast", ["test.row"], ["test.index"], to=TensorProto.INT64),
        helper.make_node("Gather", ["test.only_row", "test.index"], ["test.one"]),  # there is no row 1
        helper.make_node("Mul", ["test.whole", "test.one"], ["output"]),
    ]
    model.graph.node.extend(nodes)
    onnx.save(model, bundle / "model.onnx")
    rehash(bundle)


def held_in_place(bundle: Path) -> list[str]:
    states = json.loads((bundle / MANIFEST).read_text())["signature"]["states"]
    return [pair["input"] for pair in states if pair.get("in_place")]


def hold_in_place(bundle: Path, wanted: bool) -> None:
    """Have the signature say of every state that it is kept in place, or of none."""

    def change(signature: dict[str, Any]) -> None:
        for pair in signature["states"]:
            pair["in_place"] = wanted

    resign(bundle, change)


def outputs(bundle: Path, frames: Frames, ops: str) -> Frames:
    """The outputs of the frames that did not fail, in one stream."""
    library = library_path() if ops == "native" else "none"
    assert library is not None, "the native op library was not built"
    program = build_runner() / "tests" / "retry_frames"
    words = [program, bundle, onnxruntime_library() or "", library]
    done = subprocess.run(
        [str(word) for word in words], input=frames.tobytes(), capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    width = open_bundle(bundle).declaration.outputs[0].shape[-1]
    assert isinstance(width, int)
    return np.frombuffer(done.stdout, np.float32).reshape(-1, width)


def with_poison(frames: Frames) -> Frames:
    """A poisonous frame before every third one, before and after the caches are full."""
    mixed = [
        row
        for t, frame in enumerate(frames)
        for row in ([np.full_like(frame, POISON)] * (t % 3 == 1) + [frame])
    ]
    return np.stack(mixed)


@pytest.fixture
def frames() -> Frames:
    return np.random.default_rng(8).standard_normal((3 * CACHES + 5, 8)).astype(np.float32)


@pytest.fixture
def failing(stepped: Stepped, tmp_path: Path) -> Stepped:
    def get(arch: str) -> Path:
        bundle = Path(shutil.copytree(stepped(arch), tmp_path / arch))
        fail_on_poison(bundle)
        return bundle

    return get


@pytest.mark.parametrize("ops", ["none", "native"])
@pytest.mark.parametrize("arch", ["mega", "lightning", "sliding_window", "hybrid"])
def test_a_frame_that_fails_after_its_caches_are_written_changes_nothing(
    failing: Stepped, frames: Frames, arch: str, ops: str
) -> None:
    bundle = failing(arch)
    expected = outputs(bundle, frames, ops)
    assert len(expected) == len(frames)
    mixed = with_poison(frames)
    assert len(mixed) > len(frames) + CACHES
    np.testing.assert_array_equal(outputs(bundle, mixed, ops), expected)


@pytest.mark.parametrize("arch", ["mega", "lightning", "sliding_window", "hybrid"])
def test_one_buffer_computes_what_two_do(stepped: Stepped, frames: Frames, tmp_path: Path, arch: str) -> None:
    kept = held_in_place(stepped(arch))
    assert kept and all(name.endswith((".keys", ".values")) for name in kept)
    swapping = Path(shutil.copytree(stepped(arch), tmp_path / "swapping"))
    hold_in_place(swapping, False)
    expected = outputs(swapping, frames, "native")
    np.testing.assert_array_equal(outputs(stepped(arch), frames, "native"), expected)


def test_a_state_that_may_not_be_held_in_place_shows(failing: Stepped, frames: Frames) -> None:
    """The check above, and that one buffer is one: an LSTM's state is overwritten by the frame that fails."""
    bundle = failing("hybrid")
    expected = outputs(bundle, frames, "native")
    hold_in_place(bundle, True)
    mixed = with_poison(frames)
    assert np.abs(outputs(bundle, mixed, "native") - expected).max() > 1e-3
    np.testing.assert_array_equal(outputs(bundle, mixed, "none"), outputs(bundle, frames, "none"))
