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
import onnx

from temport.exporter.bundle.digest import DIGEST, MANIFEST, check_digest, write_digest
from temport.exporter.bundle.external_data import (
    MODEL,
    check_external_data,
    check_functions,
    is_weights,
    parse_model,
)
from temport.exporter.bundle.manifest import read_manifest
from temport.exporter.bundle.metadata import recorded_signature, signature
from temport.exporter.bundle.stream_entry import stream_entry
from temport.exporter.declare.declaration import Declaration
from temport.exporter.errors import UserError
from temport.exporter.version import version

FORMAT = 1
_LIBRARIES = ("torch", "onnx", "onnx-ir", "onnxscript", "onnxruntime", "openvino", "numpy", "tensorrt_rtx")


@dataclass(frozen=True)
class Bundle:
    """A directory whose files all match its manifest; `digest` is the manifest's own."""

    path: Path
    manifest: dict[str, Any]
    digest: str

    @property
    def declaration(self) -> Declaration:
        return Declaration.from_json(self.manifest["declaration"])

    @property
    def model_path(self) -> Path:
        return self.path / MODEL

    def file(self, name: str) -> Path | None:
        return self.path / name if name in self.manifest["files"] else None

    def read(self, name: str) -> bytes:
        """A listed file, checked again: what is used is what was hashed, even if the file changed since."""
        return _read(self.path / name, self.manifest["files"][name])

    def weights_beside(self) -> dict[str, bytes]:
        """The files of external data, by name."""
        return {name: self.read(name) for name in self.manifest["files"] if is_weights(name)}


def versions() -> dict[str, str]:
    """What produced this bundle: temport, Python and every library whose version can change a number."""
    found = {"temport": version(), "python": platform.python_version(), "machine": platform.machine()}
    for name in _LIBRARIES:
        with contextlib.suppress(package.PackageNotFoundError):
            found[name] = package.version(name)
    return found


def write_manifest(
    directory: Path, declaration: Declaration, masks: list[dict[str, Any]], extra: dict[str, Any]
) -> str:
    """Hash every file of `directory` into its manifest, and the manifest into its digest, which returns; call it last.

    Which states of a step model may be held in place, its graph alone says, so that signature is the file's.
    """
    manifest = {
        "format": FORMAT,
        "temport": version(),
        "semantics": declaration.semantics,
        "declaration": declaration.to_json(),
        "signature": recorded_signature(onnx.load(directory / MODEL, load_external_data=False))
        if declaration.streaming
        else signature(declaration),
        "files": file_entries(directory),
        "masks": masks,
        "versions": versions(),
        **extra,
    }
    if (stream := stream_entry(declaration)) is not None:
        manifest["stream"] = stream
    return seal(directory, manifest)


def file_entries(directory: Path) -> dict[str, dict[str, Any]]:
    """Hash and size of every file of `directory`, as a manifest lists them."""
    return {
        name: {"sha256": sha256(directory / name), "bytes": (directory / name).stat().st_size}
        for name in _names(directory)
    }


def seal(directory: Path, manifest: dict[str, Any]) -> str:
    """Write a manifest and its digest, which returns."""
    (directory / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")
    return write_digest(directory)


def open_bundle(path: Path, digest: str | None = None, *, strict: bool = False) -> Bundle:
    """Read and verify a bundle; UserError with what is wrong.

    digest  of the bundle that is wanted (`manifest.sha256`): any other one is refused
    strict  also refuse files in the directory that the manifest does not list

    Verified: the manifest against its digest and the schema; size and sha256 of every listed file; that the model bears
    the manifest's signature and would have a runtime read no file but the listed weights. Digests and hashes prove
    integrity, not authenticity: whoever can write the bundle can write them, unless `digest` came another way.
    """
    manifest_path = path / MANIFEST
    if manifest_path.is_symlink() or not manifest_path.is_file():
        raise UserError(f"{path} is not a bundle: it has no {MANIFEST} of its own")
    content = manifest_path.read_bytes()
    found = check_digest(path, content, digest)
    try:
        manifest = read_manifest(content)
    except ValueError as error:
        raise UserError(f"{manifest_path} is refused: {error}") from error
    files = manifest["files"]
    for name, entry in files.items():
        file = path / name
        for link in (file, file.parent):
            if link != path and link.is_symlink():
                raise UserError(
                    f"{link} is a symbolic link; a bundle holds its files itself, so export it again"
                )
        if not file.is_file():
            raise UserError(f"{file} is listed in the manifest and missing; export the bundle again")
        if name != MODEL and (file.stat().st_size != entry["bytes"] or sha256(file) != entry["sha256"]):
            raise _differs(file)
    try:
        _check_model(_read(path / MODEL, files[MODEL]), manifest)
    except ValueError as error:
        raise UserError(f"{path / MODEL} is refused: {error}") from error
    if strict:
        for name in sorted(set(_names(path)) - files.keys()):
            raise UserError(f"{path / name} is not listed in the manifest; --strict takes nothing else")
    return Bundle(path, manifest, found)


def _read(file: Path, entry: dict[str, Any]) -> bytes:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}; export the bundle again") from error
    if len(content) != entry["bytes"] or hashlib.sha256(content).hexdigest() != entry["sha256"]:
        raise _differs(file)
    return content


def _differs(file: Path) -> UserError:
    return UserError(f"{file} differs from its manifest; export the bundle again")


def _check_model(content: bytes, manifest: dict[str, Any]) -> None:
    """ValueError, in a few words, for a model that is not what its manifest says or that reads other files."""
    model = parse_model(content)
    if recorded_signature(model) != manifest["signature"]:
        raise ValueError("its signature is not the manifest's")
    check_external_data(model, manifest["files"])
    check_functions(model)


def _names(directory: Path) -> list[str]:
    """Of everything in a bundle but its manifest, as the manifest says them: those of an engine with its folder."""
    files = (path for path in directory.rglob("*") if path.is_symlink() or not path.is_dir())
    found = (path.relative_to(directory).as_posix() for path in files)
    return sorted(name for name in found if name not in (MANIFEST, DIGEST))


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
