"""The bundle directory: written whole or not at all, read back with every hash checked."""

from __future__ import annotations

import contextlib
import hashlib
import json
import platform
from dataclasses import dataclass
from importlib import metadata as package
from pathlib import Path
from typing import Any

import numpy as np

from temport.exporter.bundle.metadata import recorded_signature, signature
from temport.exporter.declare.declaration import Declaration
from temport.exporter.errors import UserError
from temport.exporter.version import version

FORMAT = 1
MANIFEST = "manifest.json"
_LIBRARIES = ("torch", "onnx", "onnx-ir", "onnxscript", "onnxruntime", "openvino", "numpy", "tensorrt_rtx")


@dataclass(frozen=True)
class Bundle:
    """A directory whose files all match its manifest."""

    path: Path
    manifest: dict[str, Any]

    @property
    def declaration(self) -> Declaration:
        return Declaration.from_json(self.manifest["declaration"])

    @property
    def model_path(self) -> Path:
        return self.path / "model.onnx"

    def file(self, name: str) -> Path | None:
        return self.path / name if name in self.manifest["files"] else None


def versions() -> dict[str, str]:
    """What produced this bundle: temport, Python and every library whose version can change a number."""
    found = {"temport": version(), "python": platform.python_version(), "machine": platform.machine()}
    for name in _LIBRARIES:
        with contextlib.suppress(package.PackageNotFoundError):
            found[name] = package.version(name)
    return found


def write_manifest(
    directory: Path, declaration: Declaration, masks: list[dict[str, Any]], extra: dict[str, Any]
) -> None:
    """Hash every file of `directory` into its manifest; call it last.

    Which states of a step model may be held in place, its graph alone says, so that signature is the file's.
    """
    files = {
        path.name: {"sha256": sha256(path), "bytes": path.stat().st_size}
        for path in sorted(directory.iterdir())
        if path.name != MANIFEST
    }
    manifest = {
        "format": FORMAT,
        "temport": version(),
        "semantics": declaration.semantics,
        "declaration": declaration.to_json(),
        "signature": recorded_signature(directory / "model.onnx")
        if declaration.streaming
        else signature(declaration),
        "files": files,
        "masks": masks,
        "versions": versions(),
        **extra,
    }
    (directory / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")


def open_bundle(path: Path) -> Bundle:
    """Read and verify a bundle: format, plain file names, sizes and sha256 of every listed file, no other weights.

    A hash beside a file proves integrity, not authenticity: whoever can write the bundle can write the hash.
    """
    if (path / MANIFEST).is_symlink() or not (path / MANIFEST).is_file():
        raise UserError(f"{path} is not a bundle: it has no {MANIFEST} of its own")
    try:
        manifest = json.loads((path / MANIFEST).read_text())
        files = manifest["files"]
        if manifest["format"] != FORMAT:
            raise UserError(
                f"{path} has bundle format {manifest['format']}; this temport reads format {FORMAT}"
            )
        Declaration.from_json(manifest["declaration"])
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path / MANIFEST} is damaged ({error}); export the bundle again") from error
    for name, entry in files.items():
        if Path(name).name != name or name in ("", ".", ".."):
            raise UserError(f"{path / MANIFEST} names {name!r}, which is not a plain file name")
        file = path / name
        if file.is_symlink():
            raise UserError(f"{file} is a symbolic link; a bundle holds its files itself, so export it again")
        if not file.is_file():
            raise UserError(f"{file} is listed in the manifest and missing; export the bundle again")
        if file.stat().st_size != entry["bytes"] or sha256(file) != entry["sha256"]:
            raise UserError(f"{file} differs from its manifest; export the bundle again")
    for file in path.glob("model.onnx*"):  # a runtime would take it for the model's weights
        if file.name not in files:
            raise UserError(f"{file} is not listed in the manifest; export the bundle again")
    return Bundle(path, manifest)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_vectors(path: Path, cases: dict[str, dict[str, dict[str, np.ndarray]]]) -> None:
    """`<case>/<input|output|bound>/<tensor>` arrays as a stored (uncompressed) npz."""
    arrays: dict[str, Any] = {
        f"{case}/{kind}/{name}": array
        for case, kinds in cases.items()
        for kind, tensors in kinds.items()
        for name, array in tensors.items()
    }
    np.savez(path, **arrays)
