"""From an exported model to an engine with its report: lower, check, build apart, verify, describe."""

from __future__ import annotations

import hashlib
import importlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
from onnx_ir.passes import common

from temport.custom_ops.cuda import aot_plugin as aot_plugin_module
from temport.custom_ops.domain import DOMAIN
from temport.exporter.compilers import lint, verify
from temport.exporter.compilers.contract import Backend, CompileError, CompileOptions, EngineReport, OnPhase
from temport.exporter.compilers.isolate import build_engine
from temport.exporter.compilers.layers import EngineLayer, parse_layers
from temport.exporter.compilers.lower_attention import LoweredAttention, MaskConstant, lower_attention
from temport.exporter.compilers.lower_biases import lower_biases
from temport.exporter.compilers.lower_block_linear import lower_block_linear
from temport.exporter.compilers.lower_grouped_dense import lower_grouped_dense
from temport.exporter.compilers.lower_rounded_inputs import layers_by_weight, lower_rounded_inputs
from temport.exporter.compilers.lower_standard import adopt_standard
from temport.exporter.compilers.part_recurrent_casts import part_recurrent_casts
from temport.exporter.compilers.plugin.lower_to_aot_plugin import lower_to_aot_plugin
from temport.exporter.compilers.plugin.lower_to_plugin import lower_to_plugin
from temport.exporter.compilers.products import lost_roundings, products_table, widened_products
from temport.exporter.compilers.profiles import profile
from temport.exporter.compilers.targets import COMPILERS, ENGINE_FILE, REPORT_FILE, enter, ready_backend
from temport.exporter.declare.declaration import Declaration
from temport.exporter.errors import UserError
from temport.exporter.graph import body_domains
from temport.exporter.graph.operators import OURS

_OURS = frozenset(name for name, op in OURS.items() if op.attention and not op.frame)
"""Ops that the lowerings take as they are."""
_OPSET_WITH_ATTENTION = 23
_CHANGED_MEANING = {"GroupNormalization"}
"""ai.onnx operators whose definition (not only their types) changed between opset 18 and 23."""


def compile_model(
    target: str,
    model_path: Path,
    declaration: Declaration,
    out: Path,
    options: CompileOptions | None = None,
    progress: OnPhase = lambda phase, step, steps: None,
) -> EngineReport:
    """Build `out/engine.<target>.plan` and enter it in `out/engine.json`.

    Raises `UserError` for a wrong option or a model that TensorRT would not take as it is meant, and
    `CompileError` when the build fails or the engine computes a mask or leaves an attention unfused.
    """
    options = options or CompileOptions()
    table = ready_backend(target, options)
    targets = options.compute_capabilities

    model = ir.from_proto(body_domains.read_model(model_path))
    if found := lint.refusals(model, declaration, table, targets):
        raise UserError("; ".join(found))
    lowered = lower(model, declaration, table, _kernels(options))
    attention, masks = lowered.attention, lowered.masks
    described = verify.check_mask_constants(model, masks)
    bounds = profile(declaration)
    engine = out / ENGINE_FILE.format(target=target)
    with tempfile.TemporaryDirectory(prefix="temport-compile-") as work:
        lowered_path = Path(work) / "lowered.onnx"
        onnx.save(ir.to_proto(model), lowered_path)
        built = build_engine(
            table,
            {
                "model": str(lowered_path),
                "engine": str(engine),
                "profile": bounds,
                "compute_capabilities": list(targets),
                "optimization_level": options.optimization_level,
                "workspace_bytes": None if options.workspace_mib is None else options.workspace_mib << 20,
                "timeout": options.build_timeout,
                "timing_cache": None if options.timing_cache is None else str(options.timing_cache),
                "plugin": None if options.plugin is None else str(options.plugin.absolute()),
                "aot_plugin": lowered.aot_plugin,
                "decomposable": {entry.node: entry.form == "decomposed" for entry in attention},
            },
            progress,
        )
    try:
        layers = parse_layers(built.table)
        outcomes = verify.check_layers(layers, attention)
    except CompileError:
        engine.unlink()
        raise
    products = products_table(model, layers)
    named = _targets(target, engine)
    told = (
        verify.widened_weights(model, layers),
        widened_products(products),
        lost_roundings(model, layers),
        lint.unfit_targets(model, named),
    )
    report = EngineReport(
        target=target,
        file=engine.name,
        sha256=_sha256(engine),
        bytes=engine.stat().st_size,
        model_sha256=_sha256(model_path),
        build_seconds=round(built.seconds, 3),
        versions={table.module: built.version, "onnx": onnx.__version__},
        compute_capabilities=named,
        profiles=bounds,
        options={k: str(v) if isinstance(v, Path) else v for k, v in options.__dict__.items()},
        attention=outcomes,
        masks=described,
        layers=[_describe(layer) for layer in layers],
        precision=verify.precision_table(layers),
        constants=verify.constants_table(layers),
        products=products,
        warnings=[*lint.remarks(model), *chain(*told)],
    )
    enter(out / REPORT_FILE, report.to_json())
    return report


@dataclass(frozen=True)
class Lowered:
    """What `lower` did: every attention, the baked masks, and the kernels that go into the engine, if any."""

    attention: list[LoweredAttention]
    masks: list[MaskConstant]
    aot_plugin: dict[str, Any] | None = None


def _kernels(options: CompileOptions) -> str:
    return "aot_plugin" if options.aot_plugin else "plugin" if options.plugin is not None else "standard"


def lower(model: ir.Model, declaration: Declaration, table: Backend, kernels: str = "standard") -> Lowered:
    """Rewrite `model` in place into what `table` takes best; no function is left.

    `kernels` says what becomes of the custom ops: `standard` (operators that TensorRT fuses), `plugin` (nodes of
    the plugin library) or `aot_plugin` (nodes whose PTX travels in the engine).
    """
    longest = max((axis.max for name, axis in declaration.axes.items() if name != "batch"), default=None)
    masks: list[MaskConstant] = []
    aot_plugin = None
    layers = layers_by_weight(model)
    lower_grouped_dense(model)
    _flatten(model, keep=_OURS)
    attention = adopt_standard(model, table)
    if kernels == "plugin":
        attention += lower_to_plugin(model)
    elif kernels == "aot_plugin":
        batch = declaration.axes.get("batch")
        ours, compiled = lower_to_aot_plugin(model, longest, batch.max if batch is not None else 1)
        attention += ours
        aot_plugin = {"file": aot_plugin_module.__file__, "kernels": compiled.compiled()} if ours else None
    else:
        lowered, masks = lower_attention(model, longest, table)
        attention += lowered
        attention += lower_block_linear(model, table)
    _flatten(model, keep=frozenset())
    lower_rounded_inputs(model, layers)
    lower_biases(model)
    part_recurrent_casts(model)
    written = any(node.op_type == "Attention" for node in model.graph)
    if written and model.opset_imports[""] < _OPSET_WITH_ATTENTION:
        if changed := sorted({n.op_type for n in model.graph.all_nodes()} & _CHANGED_MEANING):
            raise UserError(
                f"{', '.join(changed)} changed its meaning after opset 20; export with --opset 23"
            )
        model.opset_imports[""] = _OPSET_WITH_ATTENTION
    return Lowered(attention, masks, aot_plugin)


def _flatten(model: ir.Model, keep: frozenset[str]) -> None:
    """Inline every function but those of domain `temport` named in `keep`; constants become initializers."""
    common.InlinePass(criteria=lambda function: not (function.domain == DOMAIN and function.name in keep))(
        model
    )
    for step in (
        common.LiftConstantsToInitializersPass(size_limit=0),
        common.DeduplicateInitializersPass(size_limit=2**40),
        common.RemoveUnusedNodesPass(),
        common.RemoveUnusedFunctionsPass(),
        common.RemoveUnusedOpsetsPass(),
    ):
        step(model)


def _targets(target: str, engine: Path) -> tuple[str, ...]:
    read: Callable[[Path], tuple[str, ...]] = importlib.import_module(COMPILERS[target]).engine_targets
    return read(engine)


def _describe(layer: EngineLayer) -> dict[str, object]:
    return {
        "name": layer.name,
        "type": layer.type,
        "element_types": list(layer.types),
        "onnx_nodes": list(layer.onnx_nodes),
        "constants": [
            {"name": c.name, "shape": list(c.shape), "element_type": c.type, "bytes": c.bytes}
            for c in layer.constants
        ],
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
