"""A stream saved in one place goes on in another: C++, node, the browser and Python share one form of bytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import javascript
import numpy as np
import pytest
import toolchain
from small_bundles import write_step_bundle

import temport
from temport.custom_ops.library import library_path
from temport.exporter.bundle.directory import open_bundle

PLACES = ("cpp", "node", "web")
HANDED_ON = (*zip(PLACES, (*PLACES[1:], PLACES[0]), strict=True), ("python", "cpp"), ("cpp", "python"))
"""Each reads what another wrote."""
NO_BROWSER = (("cpp", "node"), ("node", "cpp"), ("python", "cpp"), ("cpp", "python"))
OTHERWISE = (*zip((*PLACES[1:], PLACES[0]), PLACES, strict=True), ("node", "python"))
CUT, FRAMES = 23, 40


def run(runner: Path, where: str, bundle: Path, *words: str | Path) -> CompletedProcess[str]:
    if where == "cpp":  # with native kernels, which keep caches in place
        return toolchain.run(runner, bundle, "--ops", library_path() or "", *words)
    return javascript.run(where, bundle, *words)


@pytest.fixture
def fed(runner: Path, tmp_path: Path) -> Callable[..., np.ndarray]:
    """Outputs of a stream of `frames`; `words` say where its state comes from and goes."""

    def feed(where: str, bundle: Path, frames: np.ndarray, *words: str | Path) -> np.ndarray:
        if where == "python":
            return in_python(bundle, frames, dict(zip(words[::2], words[1::2], strict=True)))
        np.save(tmp_path / "x.npy", frames)
        done = run(
            runner, where, bundle, "--input", tmp_path / "x.npy", "--output", tmp_path / "y.npy", *words
        )
        assert done.returncode == 0, done.stderr
        return np.asarray(np.load(tmp_path / "y.npy"))

    return feed


def in_python(bundle: Path, frames: np.ndarray, files: dict[str | Path, str | Path]) -> np.ndarray:
    stream = temport.load(bundle).stream(len(frames))
    if "--restore" in files:
        stream.restore(Path(files["--restore"]).read_bytes())
    outputs = [stream(frames[:, t]) for t in range(frames.shape[1])]
    if "--save" in files:
        Path(files["--save"]).write_bytes(stream.save())
    return np.stack(outputs, axis=1)


# sliding_window has rings of keys and values, lightning sums of three axes, and both count frames (int64)
@pytest.mark.parametrize(
    ("arch", "handed_on"),
    [
        pytest.param("sliding_window", HANDED_ON, id="sliding_window"),
        pytest.param("lightning", NO_BROWSER, id="lightning"),
        pytest.param("lightning", HANDED_ON, id="lightning in a browser", marks=pytest.mark.thorough),
        *(
            pytest.param(arch, OTHERWISE, id=f"{arch} otherwise", marks=pytest.mark.thorough)
            for arch in ("sliding_window", "lightning")
        ),
    ],
)
def test_a_state_goes_on_elsewhere(
    fed: Callable[..., np.ndarray],
    stepped: Callable[[str], Path],
    tmp_path: Path,
    arch: str,
    handed_on: tuple[tuple[str, str], ...],
) -> None:
    bundle = stepped(arch)
    frames = np.random.default_rng(5).standard_normal((1, FRAMES, 8)).astype(np.float32)
    whole = fed("cpp", bundle, frames)
    fresh = fed("cpp", bundle, frames[:, CUT:])
    states = {where: tmp_path / f"{where}.state" for where in ("cpp", "python", *dict(handed_on))}
    for where, state in states.items():
        fed(where, bundle, frames[:, :CUT], "--save", state)
    assert len({state.stat().st_size for state in states.values()}) == 1
    assert states["python"].read_bytes() == states["cpp"].read_bytes(), "the same kernels, the same bytes"
    for saved, restored in handed_on:
        again = tmp_path / "again.state"
        rest = fed(restored, bundle, frames[:, CUT:], "--restore", states[saved], "--save", again)
        np.testing.assert_allclose(rest, whole[:, CUT:], rtol=0, atol=16 * 2.0**-23 * np.abs(whole).max())
        assert again.stat().st_size == states[saved].stat().st_size
    assert np.abs(fresh - whole[:, CUT:]).max() > 1e-3, "without its state the stream is another one"


def test_rings_of_halves_go_on_elsewhere(
    fed: Callable[..., np.ndarray], stepped: Callable[[str], Path], tmp_path: Path
) -> None:
    """Two bytes a number in every place; a key next to the border of two halves may be either in another runtime."""
    plain, bundle = (
        stepped("sliding_window"),
        write_step_bundle(tmp_path / "b", "sliding_window", "1", 0, "fp16"),
    )
    frames = np.random.default_rng(5).standard_normal((1, FRAMES, 8)).astype(np.float32)
    whole = fed("cpp", bundle, frames)
    assert 1e-6 < np.abs(whole - fed("cpp", plain, frames)).max() < 1e-2, "rounded, and to the nearest"
    for saved, restored in NO_BROWSER:
        state, again = tmp_path / "state", tmp_path / "again"
        fed(saved, bundle, frames[:, :CUT], "--save", state)
        rest = fed(restored, bundle, frames[:, CUT:], "--restore", state, "--save", again)
        np.testing.assert_allclose(rest, whole[:, CUT:], rtol=0, atol=1e-3)
        rings = sum(
            np.prod(s.at(batch=1)) for s in open_bundle(bundle).declaration.inputs if s.dtype == "float16"
        )
        assert state.stat().st_size == again.stat().st_size == 8 + 32 + 8 + 2 * rings + 32


@pytest.mark.parametrize("where", ["cpp", "node"])
def test_what_is_refused(
    runner: Path,
    fed: Callable[..., np.ndarray],
    stepped: Callable[[str], Path],
    exported: Callable[[str], Path],
    tmp_path: Path,
    where: str,
) -> None:
    frames = np.ones((1, 3, 8), np.float32)
    other = write_step_bundle(tmp_path / "other", "hybrid", batch="1:1:2", streams=0)
    fed(where, stepped("hybrid"), frames, "--save", tmp_path / "state")
    fed(where, other, frames, "--save", tmp_path / "foreign")
    state = (tmp_path / "state").read_bytes()
    (tmp_path / "damaged").write_bytes(state[:60] + bytes([state[60] ^ 1]) + state[61:])
    (tmp_path / "short").write_bytes(state[:-1])
    (tmp_path / "none").write_bytes(b"")
    files = ("--input", tmp_path / "x.npy", "--output", tmp_path / "z.npy")

    def sentence(bundle: Path, *words: str | Path) -> str:
        done = run(runner, where, bundle, *words)
        assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stdout + done.stderr
        assert not (tmp_path / "z.npy").exists()
        return done.stderr

    bundle = stepped("hybrid")
    for name, why in (
        ("foreign", "saved with another model"),
        ("damaged", "it is damaged"),
        ("short", f"it has {len(state) - 1} bytes; this model's has {len(state)}"),
        ("none", "it is not the saved state of a stream"),
        ("absent", "absent"),
    ):
        assert why in sentence(bundle, *files, "--restore", tmp_path / name)
    assert "give both" in sentence(bundle, "--replay", "--save", tmp_path / "new")
    np.save(tmp_path / "x.npy", np.repeat(frames, 2, 0))
    assert "that of one stream; the input holds 2" in sentence(bundle, *files, "--save", tmp_path / "new")
    np.save(tmp_path / "x.npy", np.ones((1, 12, 8), np.float32))
    assert "need a step model" in sentence(exported("mega"), *files, "--save", tmp_path / "new")
    assert not (tmp_path / "new").exists()
