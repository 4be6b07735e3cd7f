"""The kernels of an engine as one header, so that a bundle holds a few files and not a tree."""

from __future__ import annotations

import re
from pathlib import Path

import temport.custom_ops

ROOT = Path(temport.custom_ops.__file__).resolve().parent
_OWN = re.compile(r'^#include "(.*)"\n', re.M)
_ONCE = "#pragma once\n"


def amalgam(first: str, apart: frozenset[str]) -> str:
    """`first`, a header below custom_ops, with those that it includes, each before the one that needs it; those whose
    file names are `apart` stay included.
    """
    parts: list[str] = []
    _gather(ROOT / first, apart, parts, set())
    return "// Kernels of temport, gathered from custom_ops/.\n#pragma once\n\n" + "\n".join(parts)


def _gather(path: Path, apart: frozenset[str], parts: list[str], seen: set[Path]) -> None:
    if path in seen:
        return
    seen.add(path)
    text = path.read_text()
    for included in _OWN.findall(text):
        if Path(included).name not in apart:
            _gather((path.parent / included).resolve(), apart, parts, seen)
    text = _OWN.sub(lambda m: m[0] if Path(m[1]).name in apart else "", text).replace(_ONCE, "")
    parts.append(f"// ---- {path.relative_to(ROOT)} ----\n{text}")
