"""The content key of a job: sha256 of everything that its result depends on.

That is what was asked, the content of every file that it names, the versions of the libraries, and temport itself, file
by file. Of a module in a file it is that file alone: what it imports stands in `depends` of the fleet file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import onnx

import temport
from temport.custom_ops.library import library_path
from temport.exporter.asked import CODE
from temport.exporter.bundle.directory import sha256
from temport.exporter.bundle.external_data import external_tensors
from temport.exporter.errors import UserError

OF_TEMPORT = (".py", ".json", ".jinja", ".h", ".cc", ".cpp", ".cu", ".template")


def build_key(options: Mapping[str, Any], depends: Sequence[Path], versions: Mapping[str, str]) -> str:
    """Of an export with these options, by these versions. UserError for a file that cannot be read."""
    return _digest(
        {
            "options": {name: _content(name, value) for name, value in options.items()},
            "external": [_file(path) for path in _external(options)],
            "depends": [_file(path) for path in depends],
            "versions": dict(versions),
            "temport": _of_temport(),
        }
    )


def check_key(bundle: str, runtimes: Sequence[str], resource: str, seconds: float = 0) -> str:
    """Of a check of the export with the key `bundle`.

    seconds  of its scorecard; 0: it makes none
    """
    timed = {"scorecard": seconds} if seconds else {}
    return _digest({"bundle": bundle, "runtimes": list(runtimes), "resource": resource, **timed})


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _content(name: str, value: Any) -> Any:
    if isinstance(value, tuple):
        return [_content(name, one) for one in value]
    if isinstance(value, Path):
        return _file(value)
    if name in CODE:
        place, _, factory = value.rpartition(":") if not value.endswith(".pt2") else (value, "", "")
        return [_file(Path(place)), factory] if Path(place).is_file() else value
    return value


def _external(options: Mapping[str, Any]) -> Iterator[Path]:
    """Files in which an ONNX file keeps its weights."""
    path = options.get("onnx")
    if path is None or not options.get("external-data"):
        return
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:
        raise UserError(f"{path} cannot be read as an ONNX model") from error
    tensors = external_tensors(model, inside=False)
    yield from sorted(
        {path.parent / e.value for t in tensors for e in t.external_data if e.key == "location"}
    )


def _file(path: Path) -> str:
    try:
        return sha256(path)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error


@cache
def _of_temport() -> str:
    """Sources and op library of this temport: in a checkout they change while the version stays."""
    root = Path(temport.__file__).parent
    found = hashlib.sha256()
    for room in (root, *(root / name for name in ("custom_ops", "graphs", "exporter"))):
        for path in sorted(p for p in room.rglob("*") if p.suffix in OF_TEMPORT):
            found.update(f"{path.relative_to(root)}\0{sha256(path)}\n".encode())
    if (library := library_path()) is not None:
        found.update(sha256(library).encode())
    return found.hexdigest()
