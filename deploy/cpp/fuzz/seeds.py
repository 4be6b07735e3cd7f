"""Writes the starting corpus of the fuzzers: `python seeds.py DIR` makes DIR/npy, DIR/npz, ..., one per reader."""

from __future__ import annotations

import hashlib
import io
import json
import sys
from pathlib import Path

import numpy as np


def npz(**arrays: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def manifest() -> bytes:
    axis = {"name": "batch", "min": 1, "opt": 2, "max": 4}
    spec = {"name": "x", "dtype": "float32", "shape": [axis, 3]}
    sides = {"inputs": [spec], "outputs": [{**spec, "name": "y"}]}
    declaration = {
        **sides,
        "arch": "mega",
        "options": {"embed_dim": 8},
        "opset": 20,
        "ops": "custom",
        "precision": "float32",
        "seed": 0,
        "weights": "seed",
        "semantics": 1,
        "notes": [],
    }
    content = {
        "format": 1,
        "semantics": 1,
        "temport": "0.1.0",
        "declaration": declaration,
        "signature": sides,
        "files": {"model.onnx": {"sha256": "0" * 64, "bytes": 7}},
        "masks": [],
        "versions": {},
    }
    return json.dumps(content).encode()


def step_manifest() -> bytes:
    """A step model's: a frame, one state, one output."""
    content = json.loads(manifest())
    specs = {
        name: {"name": name, "dtype": "float32", "shape": [2, *sizes]}
        for name, sizes in {"frame": [1, 3], "state.h": [3], "output": [3], "next_state.h": [3]}.items()
    }
    content["signature"] = {
        "inputs": [specs["frame"], specs["state.h"]],
        "outputs": [specs["output"], specs["next_state.h"]],
        "states": [{"input": "state.h", "output": "next_state.h", "in_place": True}],
    }
    return json.dumps(content).encode()


def state() -> bytes:
    """The layout of state_bytes.h for the rows of fuzz_state.cpp: 12 bytes of float32 and three bools."""
    content = b"TMPSTAT1" + bytes(32) + bytes(12) + bytes([0, 1, 1])
    return content + hashlib.sha256(content).digest()


def nodes() -> bytes:
    """A model with a node of ours in a branch, and the type of its input."""

    def field(number: int, content: bytes) -> bytes:
        return bytes([number << 3 | 2, len(content)]) + content

    ours = field(1, field(1, b"x") + field(4, b"Sum") + field(7, b"temport.2"))
    choice = field(1, field(4, b"If") + field(5, field(6, ours)))
    typed = field(1, b"x") + field(2, field(1, bytes([1 << 3, 1])))
    return field(7, choice + field(11, typed))


def stream() -> bytes:
    """A recorded stream of the step model in tiny_bundle.h."""
    return npz(
        **{
            "one/input/frame": np.zeros((2, 3, 3), np.float32),
            "one/output/output": np.zeros((2, 3, 3)),
            "one/bound/output": np.ones(4),
        }
    )


def main(root: Path) -> None:
    arrays = [
        np.zeros((2, 3), np.float32),
        np.ones((), np.float64),
        np.ones(5, bool),
        np.zeros((0, 4), np.int64),
    ]
    seeds = {
        "npy": [npy(array) for array in arrays],
        "npz": [npz(), npz(a=arrays[0]), npz(a=arrays[0], b=arrays[1])],
        "manifest": [manifest(), step_manifest()],
        "state": [bytes([flag]) + state() for flag in (0, 1)],
        "nodes": [nodes()],
        "bundle": [bytes([2]) + manifest(), bytes([129]) + npz(a=arrays[0]), bytes([193]) + stream()],
    }
    for reader, contents in seeds.items():
        (root / reader).mkdir(parents=True, exist_ok=True)
        for number, content in enumerate(contents):
            (root / reader / f"seed{number}").write_bytes(content)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
