"""Writes the starting corpus of the fuzzers: `python seeds.py DIR` makes DIR/npy, DIR/npz, DIR/manifest, DIR/bundle."""

from __future__ import annotations

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
    content = {
        "format": 1,
        "semantics": 1,
        "declaration": {"arch": "mega", "ops": "custom"},
        "signature": {"inputs": [spec], "outputs": [{**spec, "name": "y"}]},
        "files": {"model.onnx": {"sha256": "0" * 64, "bytes": 7}},
    }
    return json.dumps(content).encode()


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
        "manifest": [manifest()],
        "bundle": [bytes([2]) + manifest(), bytes([129]) + npz(a=arrays[0]), bytes([1]) + npz(a=arrays[0])],
    }
    for reader, contents in seeds.items():
        (root / reader).mkdir(parents=True, exist_ok=True)
        for number, content in enumerate(contents):
            (root / reader / f"seed{number}").write_bytes(content)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
