"""temport: temporal attention models, from torch to every runtime.

What a program of one's own calls. Importing this imports neither torch nor ONNX; `load` and `get_library_path` never do
import torch. The distribution temport-runtime holds what they need, and temport the rest of the same package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from temport.custom_ops.library import get_library_path
    from temport.exporter.export import export
    from temport.exporter.version import version
    from temport.session import Session, load
    from temport.stream import RefusedFrame, Stream

    __version__ = version()

_HOME = {
    "EndedStream": "temport.stream",
    "RefusedFrame": "temport.stream",
    "Session": "temport.session",
    "Stream": "temport.stream",
    "export": "temport.exporter.export",
    "get_library_path": "temport.custom_ops.library",
    "load": "temport.session",
}

__all__ = [
    "EndedStream",
    "RefusedFrame",
    "Session",
    "Stream",
    "__version__",
    "export",
    "get_library_path",
    "load",
]


def __getattr__(name: str) -> Any:
    """Each name is imported when it is first asked for."""
    from importlib import import_module

    if name == "__version__":
        return import_module("temport.exporter.version").version()
    if name in _HOME:
        try:
            return getattr(import_module(_HOME[name]), name)
        except ModuleNotFoundError as error:
            if error.name != _HOME[name]:
                raise
            raise ImportError(
                f"temport.{name} is not in temport-runtime; install the distribution temport"
            ) from error
    raise AttributeError(f"module 'temport' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
