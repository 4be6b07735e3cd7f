"""The bits of what the native kernels give, for comparing instruction sets."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from case import Array
from cases import TABLES
from one_node import native


class Digest:
    """Of float32 outputs, one case after the other."""

    def __init__(self) -> None:
        self._found = hashlib.sha256()

    def add(self, outputs: Mapping[str, Array], dtype: str = "float32") -> None:
        """Those of one case, where they are float32."""
        if dtype == "float32":
            for _, y in sorted(outputs.items()):
                self._found.update(y.tobytes())

    def __str__(self) -> str:
        return self._found.hexdigest()


def digest() -> Digest:
    """Of all cases."""
    found = Digest()
    for table in TABLES.values():
        for case in table.cases:
            found.add(native(table, case))
    return found
