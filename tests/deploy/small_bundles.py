"""Small real bundles for the deployment tests, made with the exporter's own steps."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from temport.exporter.build import save
from temport.exporter.bundle.directory import MANIFEST, open_bundle, seal, write_manifest, write_vectors
from temport.exporter.compilers.targets import REPORT_FILE, enter
from temport.exporter.declare.architectures import declare
from temport.exporter.native.engine import NativeOptions, build_native
from temport.exporter.parity.cases import default_cases
from temport.exporter.parity.oracle import find_truths
from temport.exporter.parity.replay import record
from temport.exporter.parity.trial import Trial, cases_for
from temport.exporter.parity.vectors import read_vectors, to_vectors
from temport.exporter.runtimes import runtime_named
from temport.exporter.runtimes.subject import Subject
from temport.exporter.streaming.declare import declare_stream
from tests.traces import build

SMALL = {
    "mega": ["embed_dim=8", "hidden_size=16", "ema_dim=4", "num_layers=1"],
    "lightning": ["embed_dim=8", "hidden_size=16", "num_heads=2", "num_layers=1", "block_size=5"],
    "dms": ["hid_dim=16", "n_heads=2", "masked=true"],
    "sliding_window": [
        "embed_dim=8",
        "window_size=5",
        "num_heads=2",
        "head_dim=8",
        "num_layers=2",
        "ffn_dim=16",
    ],
    "hybrid": ["embed_dim=8", "lstm_hidden=8", "num_heads=2", "head_dim=8"],
}
"""Options that keep the models at a few thousand parameters."""


def write_bundle(
    directory: Path,
    arch: str,
    batch: str = "1:2:5",
    seq: str = "12",
    ops: str = "custom",
    precision: str = "float32",
    external_data: bool = False,
) -> Path:
    """Export `arch` with the `SMALL` options into `directory`, with recorded vectors."""
    directory.mkdir(parents=True)
    declaration, module, _ = declare(arch, SMALL[arch], batch=batch, seq=seq, ops=ops)
    declaration = replace(declaration, precision=precision)
    built = build(module, declaration)
    save(built, directory / "model.onnx", external_data)
    subject = Subject(declaration, directory / "model.onnx", module)
    truths = find_truths(subject, default_cases(declaration))
    write_vectors(directory / "vectors.npz", to_vectors(truths))
    write_manifest(directory, declaration, built.mask_records(), {})
    return directory


def write_step_bundle(
    directory: Path,
    arch: str,
    batch: str = "1:1:3",
    streams: int | None = None,
    kv_dtype: str = "float32",
) -> Path:
    """Export `arch` as a step model whose caches keep at most 12 frames, with all or the first recorded streams."""
    directory.mkdir(parents=True)
    declaration, module, _ = declare(arch, SMALL[arch], batch=batch, seq="12")
    declaration = declare_stream(replace(declaration, kv_dtype=kv_dtype), module)
    built = build(module, declaration)
    save(built, directory / "model.onnx", external_data=False)
    trial = Trial.of(declaration, directory / "model.onnx", module)
    write_vectors(directory / "vectors.npz", to_vectors(trial.truths(cases_for(declaration)[:streams])))
    write_manifest(directory, declaration, built.mask_records(), {})
    return directory


def add_native_engine(directory: Path, **options: Any) -> None:
    """Compile the model of a bundle and record what it gives, as `--target native` does."""
    declaration = open_bundle(directory).declaration
    report = build_native(directory, "small", declaration, NativeOptions(**options))
    enter(directory / REPORT_FILE, report.to_json())
    truths = read_vectors(directory / "vectors.npz")
    trial, cases = Trial.of(declaration, directory / "model.onnx", None), [truth.case for truth in truths]
    found = trial.run(cases, [runtime_named("native_engine")], truths, lambda what, step, steps: None)
    record(directory, found.runtimes)
    write_manifest(directory, declaration, [], {})


def rehash(directory: Path, **changes: Any) -> None:
    """Make the manifest agree with the files as they are now, and apply top-level `changes` to it."""
    manifest = json.loads((directory / MANIFEST).read_text())
    for name, entry in manifest["files"].items():
        content = (directory / name).read_bytes()
        entry.update(sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))
    seal(directory, {**manifest, **changes})


def resign(directory: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """`change` the signature, in the manifest and in the model, whose numbers stay as they are."""
    signature = json.loads((directory / MANIFEST).read_text())["signature"]
    change(signature)
    model = onnx.load(directory / "model.onnx")
    (entry,) = [p for p in model.metadata_props if p.key == "temport.signature"]
    entry.value = json.dumps(signature)
    onnx.save(model, directory / "model.onnx")
    rehash(directory, signature=signature)


def lose_a_channel(directory: Path) -> None:
    """Make the first channel of the output NaN, in a bundle that is otherwise whole."""
    model = onnx.load(directory / "model.onnx")
    (last,) = [node for node in model.graph.node if "output" in node.output]
    last.output[list(last.output).index("output")] = "whole"
    width = model.graph.output[0].type.tensor_type.shape.dim[-1].dim_value
    factors = np.array([np.nan, *[1.0] * (width - 1)], np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(factors, "factors"))
    model.graph.node.append(onnx.helper.make_node("Mul", ["whole", "factors"], ["output"]))
    onnx.save(model, directory / "model.onnx")
    rehash(directory)
