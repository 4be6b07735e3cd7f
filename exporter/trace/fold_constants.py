"""Evaluate at export whatever depends on constants only, of any size.

The tracer folds small constants itself; baked tables (a causal convolution kernel, a mask that is sliced to a
static length) can be larger than its limit, and none of them may be computed at run time.
"""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes import common
from onnxscript import optimizer

LIMIT = 2**31
"""Elements a folded tensor may have: everything that fits one ONNX file."""


def fold_constants(model: ir.Model) -> None:
    """Fold `model` in place; run it before bodies are attached (folding would inline and lose them)."""
    optimizer.fold_constants(model, input_size_limit=LIMIT, output_size_limit=LIMIT)
    common.RemoveUnusedNodesPass()(model)
    common.DeduplicateInitializersPass(size_limit=LIMIT)(model)
