"""The files of a converted model in a bundle, and what `engine.json` says of them.

They lie beside `model.onnx`, as `TARGET.NAME` where the form calls them NAME: a bundle has no directories for them.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

from temport.exporter.compilers.targets import REPORT_FILE
from temport.exporter.errors import UserError

SIGNATURE = "signature.json"


def target_of(row: str) -> str:
    """The target of a row."""
    return row.replace("_", "-")


def put(folder: Path, target: str, model: Path, version: str, seconds: float) -> dict[str, Any]:
    """Move the files of a form out of `folder` to the model's side; what `engine.json` has to say of them.

    version  the library, and its version as the last word
    """
    files = [
        Path(shutil.move(path, model.parent / f"{target}.{path.name}")) for path in sorted(folder.iterdir())
    ]
    hashes = {path.name: _sha256(path) for path in files}
    largest = max(files, key=lambda path: path.stat().st_size).name
    library, _, number = version.rpartition(" ")
    return {
        "target": target,
        "file": largest,
        "sha256": hashes[largest],
        "bytes": sum(path.stat().st_size for path in files),
        "files": hashes,
        "model_sha256": _sha256(model),
        "build_seconds": round(seconds, 3),
        "versions": {library: number},
    }


def link_verified(directory: Path, entry: dict[str, Any], model: Path, folder: Path) -> None:
    """Let `folder` hold the files of `entry` under the names that the form gave them, after they and the model were
    compared with the entry; UserError where they are not what it says.
    """
    target, again = entry["target"], f"temport compile it again with --target {entry['target']}"
    for name, digest in entry["files"].items():
        path = directory / name
        if Path(name).name != name or not name.startswith(f"{target}."):
            raise UserError(f"{REPORT_FILE} names {name!r}, which is no file of {target}")
        if not path.is_file() or _sha256(path) != digest:
            raise UserError(f"{path} is missing or differs from {REPORT_FILE}; {again}")
        (folder / name.removeprefix(f"{target}.")).symlink_to(path.absolute())
    if _sha256(model) != entry["model_sha256"]:
        raise UserError(f"the files of {target} were made of another model than {model.name}; {again}")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
