"""The graph half of an export: a traced module is rewritten into the file that a bundle holds."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx_ir as ir
from torch import nn

from temport.exporter.bundle.description import write_metadata
from temport.exporter.bundle.model_file import InvalidModelError, check, write_model
from temport.exporter.declare.declaration import Declaration
from temport.exporter.errors import UserError
from temport.exporter.graph import operators
from temport.exporter.graph.flops import count_flops, uncounted
from temport.exporter.graph.masks import BakedMask, MaskError, check_masks, computed_masks, reaches_softmax
from temport.exporter.graph.standard_operator import is_standard
from temport.exporter.logs import LOG
from temport.exporter.passes.order import PASSES, SIMPLIFYING, way_out
from temport.exporter.passes.precision import PrecisionChange
from temport.exporter.passes.work import Pass, Work
from temport.exporter.streaming.sequences import traced_step
from temport.exporter.trace.trace import Traced, trace
from temport.exporter.version import version

Keep = Callable[[str, ir.Model], None]
"""`keep(name, model)`, called with the traced graph and after each pass; it must not write to the model."""


@dataclass(frozen=True)
class PassRun:
    """What one pass did: nodes of the graph after it, and its time."""

    name: str
    why: str
    changed: bool
    nodes: int
    seconds: float


@dataclass(frozen=True)
class Built:
    """A rewritten model with what the manifest and the report say about it.

    traced  what it was rewritten from
    passes  those that ran, in order
    found   what they recognised
    half    what the lowering of the precision did, where there was one
    """

    traced: Traced
    declaration: Declaration
    model: ir.Model
    masks: list[BakedMask]
    op_counts: dict[str, dict[str, int]]
    flops: dict[str, dict[str, float] | None]
    passes: tuple[PassRun, ...]
    warnings: tuple[str, ...]
    found: tuple[str, ...]
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
    """Trace and rewrite: the file of one declaration, with no mask computation and no machine-dependent bytes."""
    return rewrite(traced_source(module, declaration), declaration)


def traced_source(module: nn.Module, declaration: Declaration) -> Traced:
    """The graph that the passes rewrite: as torch traces the module, or as the file says; of a stream that is made of
    a graph the step graph."""
    return (trace if declaration.sequences is None else traced_step)(module, declaration)


def simplified(traced: Traced, declaration: Declaration, until: str) -> ir.Model:
    """The traced graph after the passes that come before the one of that name; `traced` stays as it is."""
    work = Work(traced.model.clone(), replace(declaration, outputs=traced.outputs))
    for step in PASSES:
        if step.name == until:
            return work.model
        if step.is_for(work.declaration):
            _run(step, work)
    raise ValueError(f"no pass is called {until}")


def rewrite(traced: Traced, declaration: Declaration, keep: Keep | None = None) -> Built:
    """The traced graph after every pass that is for this declaration; `traced` stays as it is.

    UserError where a pass cannot do its work on this model, with the pass's name, or where the model computes a mask.
    """
    declaration = replace(declaration, outputs=traced.outputs)
    work = Work(traced.model.clone(), declaration)
    counts = {"traced": count_ops(work.model)}
    flops = {"traced": count_flops(work.model, declaration)}
    warnings = _conditioning_warnings(work.model)
    for node in uncounted(work.model):
        work.notes.add("work", node, "has no row in the operator table, so what it computes is not counted")
    if keep is not None:
        keep("traced", work.model)
    runs = []
    for step in PASSES:
        if step.is_for(declaration):
            runs.append(_run(step, work))
            if keep is not None:
                keep(step.name, work.model)
        if step is SIMPLIFYING[-1]:
            flops["exported"] = count_flops(work.model, declaration)
    write_metadata(work.model, declaration, traced.weights, version())
    work.masks += traced.masks
    _check_masks(work)
    counts["exported"] = count_ops(work.model)
    return Built(
        traced,
        declaration,
        work.model,
        work.masks,
        counts,
        flops,
        tuple(runs),
        (*warnings, *work.notes),
        work.notes.found,
        work.half,
    )


def save(built: Built, path: Path, external_data: bool) -> None:
    """Write the model; UserError where it is too large, or where `onnx.checker` refuses what a pass left behind."""
    try:
        write_model(built.model, path, external_data)
    except InvalidModelError as error:
        told, way = _first_invalid(built)
        raise UserError(
            f"{told} leaves a graph that ONNX refuses ({error}); {way}, and please report it"
        ) from error


def _first_invalid(built: Built) -> tuple[str, str]:
    """Who left an invalid graph, and the way out: the passes run once more, with a check after each."""
    guilty: list[str] = []

    def keep(name: str, model: ir.Model) -> None:
        if not guilty:
            try:
                check(ir.to_proto(model))
            except InvalidModelError:
                guilty.append(name)

    rewrite(built.traced, built.declaration, keep)
    if guilty in ([], ["traced"]):
        return "the tracer", "no option mends it"
    return f"the pass {guilty[0]}", way_out(guilty[0])


def _run(step: Pass, work: Work) -> PassRun:
    start = time.perf_counter()
    try:
        changed = step.run(work)
    except (UserError, MaskError):
        raise
    except Exception as error:
        raise UserError(
            f"the pass {step.name} failed on this model ({type(error).__name__}: {error}); {way_out(step.name)}, "
            "and please report it"
        ) from error
    seconds, nodes = time.perf_counter() - start, sum(1 for _ in work.model.graph.all_nodes())
    LOG.debug(
        "pass %s: %s, %d nodes, %.1f ms", step.name, "changed" if changed else "-", nodes, seconds * 1e3
    )
    return PassRun(step.name, step.why, changed, nodes, seconds)


def _check_masks(work: Work) -> None:
    """A mask that our own layers compute is a defect; in somebody's module it is what that module says, and told."""
    own = work.declaration.module is None
    # the rows of a stream's masks are read from the masks themselves, at every position
    complete = own and work.declaration.sequences is None
    if not own:
        for node, computing in computed_masks(work.model):
            if reaches_softmax(node):
                work.notes.add(
                    "masks", node, f"takes a mask of scores that {computing.op_type} computes in the graph"
                )
    check_masks(work.model, work.masks, complete=complete)


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
