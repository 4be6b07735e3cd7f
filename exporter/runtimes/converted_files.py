"""The folder of a converted model in a bundle, and what `engine.json` says of it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from temport.exporter.compilers.targets import REPORT_FILE
from temport.exporter.errors import UserError

SIGNATURE = "signature.json"


def target_of(row: str) -> str:
    """The target, and folder, of a row."""
    return row.replace("_", "-")


def entry_of(folder: Path, model: Path, version: str, seconds: float) -> dict[str, Any]:
    """What `engine.json` has to say of `folder`, which lies beside the model and is called as its target.

    version  the library, and its version as the last word
    """
    names = sorted(path.name for path in folder.iterdir())
    library, _, number = version.rpartition(" ")
    return {
        "target": folder.name,
        "file": f"{folder.name}/{SIGNATURE}",
        "sha256": _sha256(folder / SIGNATURE),
        "files": {name: _sha256(folder / name) for name in names},
        "bytes": sum((folder / name).stat().st_size for name in names),
        "model_sha256": _sha256(model),
        "build_seconds": round(seconds, 3),
        "versions": {library: number},
    }


def converted_entry(directory: Path, target: str) -> dict[str, Any] | None:
    """The entry of this target in the bundle's `engine.json`, or None."""
    report = directory / REPORT_FILE
    engines = json.loads(report.read_text())["engines"] if report.is_file() else []
    return next((dict(entry) for entry in engines if entry["target"] == target), None)


def verified_folder(directory: Path, entry: dict[str, Any], model: Path) -> Path:
    """The folder of `entry`, after every file in it and the model were compared with the entry; UserError where they
    are not what it says.
    """
    folder = directory / entry["target"]
    again = f"temport compile it again with --target {entry['target']}"
    if not folder.is_dir() or {path.name for path in folder.iterdir()} != set(entry["files"]):
        raise UserError(f"{folder} has not the files of {REPORT_FILE}; {again}")
    for name, digest in entry["files"].items():
        if _sha256(folder / name) != digest:
            raise UserError(f"{folder / name} differs from {REPORT_FILE}; {again}")
    if _sha256(model) != entry["model_sha256"]:
        raise UserError(f"{folder} was made of another model than {model.name}; {again}")
    return folder


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
