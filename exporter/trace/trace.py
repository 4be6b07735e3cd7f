"""The first half of a build: a declared module -> the ONNX graph that the passes rewrite.

Tracing is nearly all the time of an export, and it sees nothing of dialect, precision and pruning: one trace serves
every rewriting of it.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import onnx_ir as ir
from torch import nn

from temport.exporter.declare.call import own
from temport.exporter.declare.declaration import Declaration, TensorSpec
from temport.exporter.declare.weights import fingerprint
from temport.exporter.graph.masks import BakedMask
from temport.exporter.onnx_source.module import OnnxModule
from temport.exporter.trace.clean import clean
from temport.exporter.trace.fold_constants import fold_constants
from temport.exporter.trace.of_file import of_file
from temport.exporter.trace.output_axes import outputs_of
from temport.exporter.trace.settle_parametrizations import settle_parametrizations
from temport.exporter.trace.torch_to_onnx import to_onnx
from temport.graphs.baking import bake
from temport.graphs.masks import MaskTable


@dataclass(frozen=True)
class Traced:
    """A traced module, its constants folded; nobody writes to `model`, who rewrites it takes a copy.

    masks    the mask tables that the module itself baked
    weights  sha256 of the module's parameters
    outputs  as declared, each axis that moves with the inputs' as an expression of them
    """

    model: ir.Model
    masks: tuple[BakedMask, ...]
    weights: str
    outputs: tuple[TensorSpec, ...]


def trace(module: nn.Module, declaration: Declaration) -> Traced:
    """Bake the module's tables for the declaration's longest sequence, and trace it.

    An ONNX file is a graph already.
    """
    longest = max((a.max for name, a in declaration.axes.items() if name != "batch"), default=1)
    baked = copy.deepcopy(module)
    bake(baked, longest)
    settle_parametrizations(baked)
    # with gradients torch takes another kernel of attention when it decomposes, whose result lies otherwise in memory
    baked.requires_grad_(False)
    source = own(module)
    model = of_file(source, declaration) if isinstance(source, OnnxModule) else to_onnx(baked, declaration)
    outputs = outputs_of(model, declaration)
    fold_constants(model)
    clean(model)
    masks = tuple(
        BakedMask(f"{name}.baked", table.rule, *table.baked.shape)
        for name, table in baked.named_modules()
        if isinstance(table, MaskTable) and table.baked is not None
    )
    return Traced(model, masks, fingerprint(module), outputs)
