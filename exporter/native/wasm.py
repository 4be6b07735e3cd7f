"""WebAssembly: one module, which needs nothing and whose functions are called by the names of the C table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from temport.exporter.native.toolchain import Toolchain
from temport.exporter.varint import varint

_LINK = (
    "-nostdlib",
    "-Wl,--no-entry",
    "-Wl,--export=__heap_base",
    "-Wl,--stack-first",  # so that an overflow is an access outside of memory, and not other data
    "-Wl,-z,stack-size=262144",
    "-Wl,--strip-all",
)
_IMPORTS, _CODE = 2, 10
_FUNCTION, _TABLE, _MEMORY, _GLOBAL = range(4)


class WasmToolchain(Toolchain):
    """Clang with wasm-ld."""

    def libraries(self, directory: Path, objects: Sequence[str], name: str) -> str:
        library = f"{name}.wasm"
        self._run([*_LINK, *objects, "-o", library], directory)
        return library

    def undefined(self, path: Path) -> list[str]:
        for kind, section in _sections(path.read_bytes()):
            if kind == _IMPORTS:
                return sorted(_functions(section))
        return []

    def code_bytes(self, path: Path) -> int:
        return sum(len(section) for kind, section in _sections(path.read_bytes()) if kind == _CODE)

    def _run(self, arguments: Sequence[str], directory: Path | None = None) -> str:
        return super()._run(["--target=wasm32-unknown-unknown", *arguments], directory)


def _sections(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and content of each section of a module or an object file."""
    at = 8
    while at < len(content):
        kind = content[at]
        size, at = varint(content, at + 1)
        yield kind, content[at : at + size]
        at += size


def _functions(imports: bytes) -> Iterator[str]:
    """Names of the functions among the imports; an object file lists its memory and its stack there too."""
    count, at = varint(imports, 0)
    for _ in range(count):
        size, at = varint(imports, at)
        size, at = varint(imports, at + size)
        name, kind, at = imports[at : at + size].decode(), imports[at + size], at + size + 1
        if kind == _FUNCTION:
            yield name
            _, at = varint(imports, at)
        elif kind == _GLOBAL:
            at += 2
        else:
            at += kind == _TABLE
            bounded, at = imports[at] & 1, at + 1
            for _ in range(1 + bounded):
                _, at = varint(imports, at)
