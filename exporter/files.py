"""Files that are whole at any moment: an interrupted run keeps what it had."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from temport.exporter.errors import UserError


def check_folder(folder: Path | None) -> None:
    """Makes it, before anything that takes long; UserError where that is not possible."""
    if folder is None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}; choose another one") from error


def write_whole(path: Path, text: str) -> None:
    """Write beside `path` and rename: who reads it finds the old text or the new one. UserError where it cannot."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            unfinished.write_text(text)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; choose another --out") from error


def write_pair(folder: Path, name: str, numbers: dict[str, Any], picture: str) -> tuple[Path, Path]:
    """`<name>.json` and `<name>.svg` in `folder`."""
    paths = folder / f"{name}.json", folder / f"{name}.svg"
    write_whole(paths[0], json.dumps(numbers, indent=1) + "\n")
    write_whole(paths[1], picture)
    return paths
