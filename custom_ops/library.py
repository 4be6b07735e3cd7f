"""Where the native op library is: one shared library that holds every op of domain `temport`."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

ENVIRONMENT = "TEMPORT_OPS_LIBRARY"


def library_path() -> Path | None:
    """The library to register with ONNX Runtime, or None where it was not built.

    The environment variable TEMPORT_OPS_LIBRARY overrides the one inside the package. Raises ValueError when
    it names a file that does not exist (falling back would hide which kernels ran) or not by its absolute path (a bare
    name would be whatever the loader finds first).
    """
    named = os.environ.get(ENVIRONMENT)
    if named:
        path = Path(named)
        if not path.is_absolute() or not path.is_file():
            raise ValueError(
                f"{ENVIRONMENT} is {named!r}; it must name the built library temport_ops by its absolute path"
            )
        return path
    folder = Path(__file__).absolute().parent / "native"
    found = (
        folder / f"{stem}{end}"
        for stem in ("libtemport_ops", "temport_ops")
        for end in (".so", ".dylib", ".dll")
    )
    return next((path for path in found if path.is_file()), None)


def get_library_path() -> str:
    """The op library as ONNX Runtime's `SessionOptions.register_custom_ops_library` takes it.

    FileNotFoundError where this installation has none; ValueError as `library_path`.
    """
    path = library_path()
    if path is None:
        raise FileNotFoundError(
            "the native op library was not built with this installation; install temport again where a C++ compiler is"
        )
    return str(path)


def library_description(path: Path) -> str:
    """Version and instruction set of the kernels that the library at `path` runs in this process: "0.1.0, avx2".

    The environment variable TEMPORT_ISA names another instruction set, for the whole life of the process.
    """
    describe = ctypes.CDLL(str(path)).temport_ops_description
    describe.restype = ctypes.c_char_p
    return str(describe().decode())


def library_kernels(path: Path) -> dict[str, tuple[int, frozenset[int]]] | None:
    """What the library at `path` has kernels for: of each op, in how many domains, and for which element types.

    Element types are ONNX's numbers (`TensorProto.DataType`). None where the library is too old to say it.
    """
    try:
        kernels = ctypes.CDLL(str(path)).temport_ops_kernels
    except AttributeError:
        return None
    kernels.restype = ctypes.c_char_p
    rows = (line.split() for line in kernels().decode().splitlines())
    return {op: (int(domains), frozenset(map(int, types))) for op, domains, *types in rows}
