"""The engine half of an export: what `--target` adds to a bundle."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from temport.exporter.compilers.compile import compile_model
from temport.exporter.compilers.contract import CompileOptions, EngineReport
from temport.exporter.compilers.layers import is_fused_attention
from temport.exporter.compilers.polygraphy import write_polygraphy
from temport.exporter.compilers.targets import REPORT_FILE, enter, ready_backend
from temport.exporter.declare.declaration import Declaration
from temport.exporter.native import engine
from temport.exporter.progress import Progress


@dataclass(frozen=True)
class Added:
    """An engine that is in the bundle now: what became of the model, in one sentence, and what to warn of."""

    summary: str
    warnings: tuple[str, ...]


def check_target(target: str | None, options: CompileOptions) -> None:
    """Refuse what cannot be compiled here before the model is traced, which takes much longer."""
    if target is None:
        options.check_without_target()
    elif target == engine.TARGET:
        options.check_known(target, engine.OPTIONS)
        engine.check_native(_native(options))
    else:
        ready_backend(target, options)


def add_engine(
    target: str,
    options: CompileOptions,
    directory: Path,
    name: str,
    declaration: Declaration,
    progress: Progress,
) -> Added:
    """Compile `directory/model.onnx` for `target`; engine, `engine.json` and Polygraphy files go beside it.

    name  of the bundle
    """
    progress.step(f"compiling for {target}")
    if target == engine.TARGET:
        native = engine.build_native(directory, name, declaration, _native(options))
        enter(directory / REPORT_FILE, native.to_json())
        return Added(native.summary(), tuple(native.warnings))

    def phase(name: str, done: int, steps: int) -> None:
        progress.detail(f"compiling for {target}: {name.lower()}")

    report = compile_model(target, directory / "model.onnx", declaration, directory, options, phase)
    write_polygraphy(directory, declaration, report)
    return Added(summary(report), tuple(report.warnings))


def _native(options: CompileOptions) -> engine.NativeOptions:
    return engine.NativeOptions(
        options.cc, options.toolchain, options.engine_isa, options.engine_threads, options.source_only
    )


def summary(report: EngineReport) -> str:
    """What became of the model, in one sentence."""
    attention = ", ".join(
        f"{count} {what}"
        for what, count in (
            ("fused", report.fused),
            ("from the plugin", report.ours),
            ("decomposed", len(report.attention) - report.fused - report.ours),
        )
        if count
    )
    masks = sum(int(mask["bytes"]) for mask in report.masks)
    told = f"baked masks: {masks} bytes" if masks else "no mask of ours"
    return (
        f"{report.file}: {report.bytes / 2**20:.1f} MiB in {report.build_seconds:.1f} s, {len(report.layers)} layers, "
        f"attention: {attention or _found(report)}, {told}"
    )


def _found(report: EngineReport) -> str:
    """What the layers say of attention where the model has no op of ours for it."""
    fused = [layer for layer in report.layers if is_fused_attention(str(layer["name"]))]
    constants = [
        c for layer in fused for c in layer["constants"] if len([d for d in c["shape"] if d > 1]) > 1
    ]
    if not fused:
        return "no op of ours, and no fused layer"
    tables = sum(int(constant["bytes"]) for constant in constants)
    return f"no op of ours; {len(fused)} layers fused from standard operators, with tables of {tables} bytes"
