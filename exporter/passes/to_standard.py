"""The standard dialect: no custom domain at all, masks as constants that all layers share."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes import common

from temport.exporter.declare.declaration import Declaration
from temport.exporter.graph.masks import BakedMask
from temport.exporter.graph.operators import OURS
from temport.exporter.passes.attach_bodies import attach_bodies

FIRST_OPSET_WITH_ATTENTION = 23


def to_standard(model: ir.Model, declaration: Declaration) -> list[BakedMask]:
    """Replace every `temport` node by standard operators, in place; returns the masks that these hold.

    From opset 23 on attention becomes one `ai.onnx::Attention` node; before, its decomposition.
    """
    newer = declaration.opset >= FIRST_OPSET_WITH_ATTENTION
    fused = {name: "attention" for name, op in OURS.items() if op.standard_attention and newer}
    masks = attach_bodies(model, declaration, fused)
    for step in (
        common.InlinePass(),
        common.LiftConstantsToInitializersPass(size_limit=0),
        common.DeduplicateInitializersPass(size_limit=2**40),
        # where in its ring a frame stands and which rows are filled is the same in every layer
        common.CommonSubexpressionEliminationPass(),
        common.RemoveUnusedOpsetsPass(),
    ):
        step(model)
    return masks
