"""The shared libraries of this installation that a program outside Python may run on."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from temport.custom_ops.library import library_path
from temport.exporter.errors import UserError


def onnxruntime_library() -> Path | None:
    """The shared library inside the onnxruntime wheel."""
    spec = find_spec("onnxruntime")
    if spec is None or spec.origin is None:
        return None
    return next(iter(sorted((Path(spec.origin).parent / "capi").glob("libonnxruntime.so.*"))), None)


def ops_library() -> Path | None:
    """`temport.custom_ops.library_path`; UserError where `$TEMPORT_OPS_LIBRARY` names a library that is not there."""
    try:
        return library_path()
    except ValueError as error:
        raise UserError(str(error)) from error


def runner_environment() -> dict[str, str]:
    """This process's environment, with our libraries in the variables that `temport-run` reads and that name none.

    UserError as `ops_library`.
    """
    own = {"TEMPORT_ONNXRUNTIME_LIBRARY": onnxruntime_library(), "TEMPORT_OPS_LIBRARY": ops_library()}
    added = {name: str(path) for name, path in own.items() if path is not None and not os.environ.get(name)}
    return {**os.environ, **added}
