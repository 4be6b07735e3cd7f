"""The three readers of bundles, asked the same: Python in this process, C++ and JavaScript in one process each."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import onnx
from javascript import install
from onnx import TensorProto, helper
from toolchain import build_runner

from temport.exporter.bundle.digest import write_digest
from temport.exporter.bundle.directory import MANIFEST, open_bundle
from temport.exporter.errors import UserError

BATCH = {"name": "batch", "min": 1, "opt": 2, "max": 4}
WINDOW = {
    "inputs": [{"name": "x", "dtype": "float32", "shape": [BATCH, 3]}],
    "outputs": [{"name": "y", "dtype": "float32", "shape": [BATCH, 3]}],
}
STEP = {
    "inputs": [
        {"name": "frame", "dtype": "float32", "shape": [BATCH, 1, 3]},
        {"name": "state.a", "dtype": "float32", "shape": [BATCH, 3]},
        {"name": "state.b", "dtype": "int64", "shape": [BATCH, 2]},
    ],
    "outputs": [
        {"name": "output", "dtype": "float32", "shape": [BATCH, 3]},
        {"name": "next_state.a", "dtype": "float32", "shape": [BATCH, 3]},
        {"name": "next_state.b", "dtype": "int64", "shape": [BATCH, 2]},
    ],
    "states": [
        {"input": "state.a", "output": "next_state.a", "in_place": True},
        {"input": "state.b", "output": "next_state.b"},
    ],
}


def model(signature: Any = WINDOW) -> onnx.ModelProto:
    """A model that bears a signature; its graph is y = x whatever that says."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [3]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [x], [y])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(made, {"temport.signature": json.dumps(signature)})
    return made


def manifest(signature: Any = WINDOW) -> dict[str, Any]:
    """A small manifest, whose one file is still to be hashed."""
    declaration = {
        "arch": "mega",
        "options": {"embed_dim": 8, "dropout": 0.1, "sizes": [1, 2], "kernel": None},
        "inputs": WINDOW["inputs"],
        "outputs": WINDOW["outputs"],
        "opset": 20,
        "ops": "custom",
        "precision": "float32",
        "without": [],
        "seed": 0,
        "weights": "seed",
        "module": None,
        "semantics": 1,
        "notes": ["a note"],
        "streaming": False,
        "horizon": 0,
    }
    return {
        "format": 1,
        "temport": "0.1.0",
        "semantics": 1,
        "declaration": declaration,
        "signature": signature,
        "files": {"model.onnx": {}},
        "masks": [{"name": "mask", "rule": "causal", "shape": [3, 3]}],
        "versions": {"torch": "2.9"},
    }


def entry(content: bytes) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


def write(directory: Path, text: bytes, content: bytes, *, sealed: bool = True) -> Path:
    """A bundle of one model with this manifest, and with a digest beside it where it is `sealed`."""
    directory.mkdir()
    (directory / "model.onnx").write_bytes(content)
    (directory / MANIFEST).write_bytes(text)
    if sealed:
        write_digest(directory)
    return directory


def whole(directory: Path, content: bytes, files: Sequence[str] = (), signature: Any = WINDOW) -> Path:
    """A bundle that is what it says, with `files` of four bytes each beside the model."""
    said = manifest(signature)
    said["files"] = {"model.onnx": entry(content)} | {name: entry(b"\0\0\0\0") for name in files}
    write(directory, json.dumps(said).encode(), content)
    for name in files:
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_bytes(b"\0\0\0\0")
    return directory


def refusals(directories: Iterable[Path]) -> dict[str, list[str]]:
    """What each reader says of each bundle, in one line; empty where it takes it."""
    install()
    asked = list(directories)
    lines = "".join(f"{directory}\n" for directory in asked)
    programs = {
        "C++": [str(build_runner() / "tests" / "open_bundles")],
        "JavaScript": ["node", str(Path(__file__).parent / "open_bundles.mjs")],
    }
    said = {"Python": [_python(directory) for directory in asked]}
    for reader, command in programs.items():
        done = subprocess.run(command, input=lines, capture_output=True, text=True, check=True)
        said[reader] = done.stdout.split("\n")[:-1]
        assert len(said[reader]) == len(asked) and done.stderr == ""
    return said


def _python(directory: Path) -> str:
    try:
        open_bundle(directory)
    except UserError as error:
        return str(error)
    return ""
