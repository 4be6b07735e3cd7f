"""The graph half of an export: declared torch module -> checked ONNX file."""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
from torch import nn

from temport.exporter.bundle.metadata import describe
from temport.exporter.declare.declaration import PRECISIONS, Declaration
from temport.exporter.declare.streams import step_model
from temport.exporter.declare.weights import fingerprint
from temport.exporter.errors import UserError
from temport.exporter.graph import operators
from temport.exporter.graph.body_domains import spread
from temport.exporter.graph.flops import count_flops
from temport.exporter.graph.masks import BakedMask, MaskError, check_masks
from temport.exporter.graph.standard_operator import is_standard
from temport.exporter.passes.absorb_keys import absorb_keys
from temport.exporter.passes.absorb_projections import absorb_projections
from temport.exporter.passes.attach_bodies import attach_bodies
from temport.exporter.passes.clean import clean
from temport.exporter.passes.flat_frames import flat_frames
from temport.exporter.passes.flatten_rows import flatten_rows
from temport.exporter.passes.fold_constants import fold_constants
from temport.exporter.passes.fold_factors import fold_factors
from temport.exporter.passes.fused_dense import fused_dense
from temport.exporter.passes.fused_lstm import fused_lstm
from temport.exporter.passes.join_reshapes import join_reshapes
from temport.exporter.passes.limit_lengths import limit_lengths
from temport.exporter.passes.moving_average import moving_average
from temport.exporter.passes.notes import Notes
from temport.exporter.passes.precision import PrecisionChange, lower_precision
from temport.exporter.passes.prune import prune
from temport.exporter.passes.residual_layer_norm import residual_layer_norm
from temport.exporter.passes.spell_dense import spell_dense
from temport.exporter.passes.to_standard import to_standard
from temport.exporter.trace.torch_to_onnx import to_onnx
from temport.exporter.version import version
from temport.graphs.baking import bake
from temport.graphs.masks import MaskTable

DIALECTS = ("custom", "standard")
PRECISION_NAMES = {element: name for name, element in PRECISIONS.items()}
LARGEST_PROTOBUF = 2**31 - 1


@dataclass(frozen=True)
class Built:
    """A checked ONNX model with what the manifest and the report say about it; `half` where precision was lowered."""

    model: ir.Model
    masks: list[BakedMask]
    op_counts: dict[str, dict[str, int]]
    flops: dict[str, dict[str, float]]
    warnings: tuple[str, ...]
    half: PrecisionChange | None

    def mask_records(self) -> list[dict[str, Any]]:
        return [
            {
                "name": mask.name,
                "rule": str(mask.rule),
                "shape": [mask.query_length, mask.key_length],
            }
            for mask in self.masks
        ]


def build(module: nn.Module, declaration: Declaration) -> Built:
    """Trace, rewrite and check; the result carries no mask computation and no machine-dependent bytes."""
    if declaration.ops not in DIALECTS:
        raise UserError(f"--ops {declaration.ops!r} is unknown; give one of {', '.join(DIALECTS)}")
    longest = max((a.max for name, a in declaration.axes.items() if name != "batch"), default=1)
    baked = step_model(module, declaration) if declaration.streaming else copy.deepcopy(module)
    bake(baked, longest)
    model = to_onnx(baked, declaration)
    fold_constants(model)
    clean(model)
    counts = {"traced": count_ops(model)}
    flops = {"traced": count_flops(model, declaration)}
    warnings = _conditioning_warnings(model)
    spell_dense(model)
    if declaration.precision != "float16":  # whose range a weight that was scaled can leave
        fold_factors(model)
    smallest = {axis.name: axis.min for axis in declaration.axes.values() if axis.name != "batch"}
    notes = Notes()
    if declaration.prune and prune(model, smallest, notes):
        absorb_projections(model)
        counts["pruned"] = count_ops(model)
    absorb_keys(model)
    if declaration.ops == "custom" and declaration.precision == "float32":
        moving_average(model)
    flatten_rows(model)
    flat_frames(model)
    join_reshapes(model)
    flops["exported"] = count_flops(model, declaration)
    limit_lengths(model, declaration)
    half = None
    if declaration.precision != "float32":
        half = lower_precision(model, PRECISION_NAMES[declaration.precision], notes)
    if declaration.ops == "standard":
        masks = to_standard(model, declaration)
    else:
        for rewrite in (fused_dense, fused_lstm, residual_layer_norm):
            rewrite(model)
        masks = attach_bodies(model, declaration)
    clean(model)
    describe(model, declaration, fingerprint(module), version())
    masks += [
        BakedMask(f"{name}.baked", table.rule, *table.baked.shape)
        for name, table in baked.named_modules()
        if isinstance(table, MaskTable) and table.baked is not None
    ]
    _check_masks(model, masks, declaration)
    counts["exported"] = count_ops(model)
    return Built(model, masks, counts, flops, (*warnings, *notes), half)


def _check_masks(model: ir.Model, masks: list[BakedMask], declaration: Declaration) -> None:
    """A mask that our own layers compute is a defect; in somebody's module it is what that module says."""
    try:
        check_masks(model, masks, complete=declaration.module is None)
    except MaskError as error:
        if declaration.module is None:
            raise
        raise UserError(
            f"{declaration.module} computes a mask in the graph ({error}); give the length of the sequence as a "
            "number, which makes it a constant, or use the attention layers of `graphs`"
        ) from error


def save(built: Built, path: Path, external_data: bool) -> None:
    """Write one file; weights go beside it only where the caller asked for external data."""
    if external_data:
        ir.save(built.model, path, external_data=f"{path.name}.data")
        proto = onnx.load(path, load_external_data=False)
        spread(proto)
        path.write_bytes(proto.SerializeToString(deterministic=True))
        return
    proto = ir.to_proto(built.model)
    spread(proto)
    if proto.ByteSize() > LARGEST_PROTOBUF:
        raise UserError(
            f"the model is {proto.ByteSize() / 2**30:.1f} GiB, over protobuf's 2 GiB for one file; "
            "pass --external-data to write its weights beside it"
        )
    onnx.checker.check_model(proto, full_check=True)
    path.write_bytes(proto.SerializeToString(deterministic=True))


def _conditioning_warnings(model: ir.Model) -> tuple[str, ...]:
    """Where the linear branch divides by a sum that can pass through 0, say so."""
    linear = []
    for node in model.graph.all_nodes():
        if operators.of(node).attention != "linear":
            continue
        given = {name: attribute.value for name, attribute in node.attributes.items()}
        length = node.inputs[0].shape[1] if node.inputs[0] is not None and node.inputs[0].shape else None
        many = node.op_type != "BlockLinearAttention"  # a stream has many blocks
        if many or not isinstance(length, int) or length > given["block_size"]:
            linear.append((given["feature_map"], given["normalizer"]))
    if ("identity", "key_sum") not in linear:
        return ()
    return (
        "feature_map=identity with normalizer=key_sum divides by a sum that can pass through 0, so single "
        "outputs can be arbitrarily large and ill-conditioned (the report gives the conditioning of every "
        "case); feature_map=elu1 is sound for new models",
    )


def count_ops(model: ir.Model) -> dict[str, int]:
    """Operators of the main graph by name (custom domain as `temport::Op`), most frequent first."""
    names = (
        f"{node.domain}::{node.op_type}" if not is_standard(node) else node.op_type
        for node in model.graph.all_nodes()
    )
    return dict(Counter(names).most_common())
