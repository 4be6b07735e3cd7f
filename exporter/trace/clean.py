"""Remove what the tracer leaves behind: doc strings, stack traces with paths, unused opsets.

After this two exports of one declaration are byte-identical wherever they are made.
"""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes import common


def clean(model: ir.Model) -> None:
    """Clean `model` in place."""
    for step in (
        common.ClearMetadataAndDocStringPass(),
        common.RemoveUnusedOpsetsPass(),
        common.TopologicalSortPass(),
    ):
        step(model)
