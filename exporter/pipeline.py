"""`temport export` and `temport parity` from request to exit code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import onnx_ir as ir
from rich.console import Console
from torch import nn

from temport.exporter.build import Built, build, save
from temport.exporter.bundle.directory import (
    Bundle,
    open_bundle,
    staged,
    versions,
    write_manifest,
    write_vectors,
)
from temport.exporter.compilers.contract import CompileOptions
from temport.exporter.compilers.engines import add_engine, check_target, describe
from temport.exporter.declare import weights
from temport.exporter.declare.architectures import declare, rebuild
from temport.exporter.declare.construct import seeded
from temport.exporter.declare.declaration import PRECISIONS, Declaration
from temport.exporter.declare.modules import declare_module, load_factory
from temport.exporter.declare.streams import declare_stream
from temport.exporter.errors import UserError
from temport.exporter.parity.cases import Case
from temport.exporter.parity.gate import merge
from temport.exporter.parity.oracle import Truth
from temport.exporter.parity.overflow import find_overflow
from temport.exporter.parity.result import MaskPicture, ParityReport
from temport.exporter.parity.serial import read_json, write_json
from temport.exporter.parity.trial import Trial, cases_for, own_cases
from temport.exporter.parity.vectors import read_vectors, to_vectors
from temport.exporter.progress import Progress
from temport.exporter.report.html import write_html
from temport.exporter.report.table import print_table
from temport.exporter.runtimes import load
from temport.exporter.runtimes.runner import replay

LARGEST_MASK_DRAWN = 512
"""Beyond this many rows a drawing of a mask shows nothing more."""


@dataclass(frozen=True)
class ExportRequest:
    """What `temport export` was asked for; texts are as typed, `declare` gives them meaning."""

    arch: str | None = None
    module: str | None = None
    shapes: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    batch: str = "1"
    seq: str = "60"
    memory: str | None = None
    ops: str = "custom"
    opset: int = 20
    prune: bool = True
    seed: int = 0
    weights: Path | None = None
    weights_layout: str = "own"
    out: Path | None = None
    runtimes: tuple[str, ...] = ()
    inputs: tuple[Path, ...] = ()
    external_data: bool = False
    streaming: bool = False
    precision: str = "fp32"
    target: str | None = None
    compile: CompileOptions = field(default_factory=CompileOptions)


@dataclass(frozen=True)
class Exported:
    """A bundle that was just written, and its parity report."""

    path: Path
    report: ParityReport

    @property
    def passed(self) -> bool:
        """Whether every runtime that ran agrees with the oracle."""
        return self.report.passed


def export(arch: str | None = None, **asked: Any) -> Exported:
    """What `temport export` does, without a word on the terminal.

    `asked` are fields of `ExportRequest`; `seq`, `batch` and `memory` may be numbers. UserError for bad input.
    """
    texts = {key: str(value) for key, value in asked.items() if key in ("seq", "batch", "memory")}
    try:
        request = ExportRequest(arch, **(asked | texts))
    except TypeError as error:
        raise UserError(f"export has {', '.join(f.name for f in fields(ExportRequest))}; {error}") from error
    return run_export(request, Console(quiet=True))


def run_export(request: ExportRequest, console: Console | None = None) -> Exported:
    """Write the bundle and say on the console how every runtime did."""
    console = console or Console()
    runtimes = [load(name) for name in request.runtimes] or None
    check_target(request.target, request.compile)
    with Progress(console) as progress:
        progress.step("declaring")
        declaration, module = _declared(request)
        cases = cases_for(declaration, request.inputs)
        with staged(request.out or _default_out(declaration)) as work:
            progress.step("tracing and rewriting")
            built = build(module, declaration)
            save(built, work / "model.onnx", request.external_data)
            (work / "weights.safetensors").write_bytes(weights.serialise(module))
            told = _overflows(module, declaration, built, cases)
            engine = None
            if request.target is not None:
                engine = add_engine(request.target, request.compile, work, declaration, progress)
                told = (*told, *engine.warnings)
            trial = Trial.of(declaration, work / "model.onnx", module)
            progress.step("float64 oracle")
            truths = trial.truths(cases)
            write_vectors(work / "vectors.npz", to_vectors(truths))
            report = trial.run(cases, runtimes, truths, progress.parity)
            report = replace(
                report,
                op_counts=built.op_counts,
                flops=built.flops,
                masks=_pictures(built),
                warnings=(*declaration.notes, *built.warnings, *told),
                versions=versions(),
            )
            write_json(report, work / "report.json")
            write_html(report, work / "report.html")
            write_manifest(work, declaration, built.mask_records(), {"verdict": report.verdict})
    out = (request.out or _default_out(declaration)).absolute()
    print_table(report, console)
    if engine is not None:
        console.print(describe(engine), soft_wrap=True, highlight=False)
    console.print(
        f"{'wrote' if report.passed else 'wrote, with a failed parity gate,'} {out}", soft_wrap=True
    )
    return Exported(out, report)


def run_parity_of_bundle(
    path: Path,
    runtimes: Sequence[str] = (),
    inputs: Sequence[Path] = (),
    out: Path | None = None,
    runners: Sequence[Path] = (),
    console: Console | None = None,
) -> bool:
    """Repeat the parity check of a bundle, from its own weights and declaration.

    `runners` are programs with the command line of `temport-run`; their rows join the report, judged by its bounds.
    """
    console = console or Console()
    chosen = [load(name) for name in runtimes] or None
    bundle = open_bundle(path)
    declaration = bundle.declaration
    own = own_cases(declaration, inputs)
    with Progress(console) as progress:
        progress.step("rebuilding")
        module = rebuilt_module(bundle)
        trial = Trial.of(declaration, bundle.model_path, module)
        cases, truths = _known_or_recorded(bundle, module, own)
        report = trial.run(cases, chosen, truths, progress.parity)
        for runner in runners:
            progress.step(f"replaying in {runner.name}")
            report = merge(report, replay(runner, path))
    earlier = read_json(path / "report.json")
    report = replace(
        report,
        op_counts=earlier.op_counts,
        flops=earlier.flops,
        masks=earlier.masks,
        warnings=earlier.warnings,
        versions=versions(),
    )
    if out is not None:
        try:
            out.mkdir(parents=True, exist_ok=True)
            write_json(report, out / "report.json")
            write_html(report, out / "report.html")
        except OSError as error:
            raise UserError(f"cannot write to {out}: {error.strerror}; choose another --out") from error
    print_table(report, console)
    return report.passed


def rebuilt_module(bundle: Bundle) -> nn.Module | None:
    """The torch source of a bundle: architecture or factory, filled with the bundle's weights.

    None where the bundle was made from a factory whose file is not here any more.
    """
    declaration = bundle.declaration
    if declaration.module is None:
        module = rebuild(declaration)
    elif Path(declaration.module.rpartition(":")[0]).is_file():
        module = seeded(load_factory(declaration.module), declaration.seed)[0]
    else:
        return None
    weights.load(module, bundle.path / "weights.safetensors", "own", declaration.arch, None)
    return module


def _declared(request: ExportRequest) -> tuple[Declaration, nn.Module]:
    """The declaration and its module, weights loaded."""
    if (request.arch is None) == (request.module is None):
        raise UserError("give either --arch or --module; `temport list` names the architectures")
    if request.weights_layout not in weights.LAYOUTS:
        raise UserError(
            f"--weights-layout {request.weights_layout!r} is unknown; give {' or '.join(weights.LAYOUTS)}"
        )
    if request.module is not None:
        if request.weights_layout != "own" or request.settings or request.memory:
            raise UserError(
                "--set, --memory and --weights-layout belong to --arch; leave them out with --module"
            )
        config = None
        declaration, module = declare_module(
            request.module,
            request.shapes,
            batch=request.batch,
            seq=request.seq,
            opset=request.opset,
            ops=request.ops,
            seed=request.seed,
        )
    else:
        assert request.arch is not None
        declaration, module, config = declare(
            request.arch,
            request.settings,
            batch=request.batch,
            seq=request.seq,
            memory=request.memory,
            opset=request.opset,
            ops=request.ops,
            seed=request.seed,
        )
    source = "seed"
    if request.weights is not None:
        weights.load(module, request.weights, request.weights_layout, declaration.arch, config)
        source = weights.fingerprint(module)
    elif request.weights_layout != "own":
        raise UserError("--weights-layout says how to read --weights, and no --weights was given")
    if request.precision not in PRECISIONS:
        raise UserError(f"--precision {request.precision!r} is unknown; give {', '.join(PRECISIONS)}")
    precision = PRECISIONS[request.precision]
    declaration = replace(declaration, weights=source, prune=request.prune, precision=precision)
    return (declare_stream(declaration, module) if request.streaming else declaration), module


def _overflows(
    module: nn.Module, declaration: Declaration, built: Built, cases: Sequence[Case]
) -> tuple[str, ...]:
    """Tensors that the half type cannot hold on these very inputs, measured on the float32 graph.

    In standard operators: fused ops, which float32 has and half types have not, would hide some of the tensors.
    """
    if built.half is None or declaration.streaming:
        return ()
    single = build(module, replace(declaration, precision="float32", ops="standard"))
    found = find_overflow(
        ir.to_proto(single.model),
        built.model,
        built.half.half,
        {c.name: c.inputs for c in cases},
        built.half.precision,
    )
    return tuple(f"overflow in {built.half.precision}: {overflow}" for overflow in found)


def _default_out(declaration: Declaration) -> Path:
    name = declaration.module.rpartition(":")[2] if declaration.module else declaration.arch
    if declaration.streaming:
        return Path("bundles") / f"{name}-streaming"
    return Path("bundles") / f"{name}-seq{str(declaration.axes['seq']).replace(':', '-')}"


def _known_or_recorded(
    bundle: Bundle, module: nn.Module | None, own: tuple[Case, ...]
) -> tuple[tuple[Case, ...], tuple[Truth, ...] | None]:
    """Cases to run with their truths; without the torch source only the recorded ones have a truth."""
    if module is not None:
        return (*cases_for(bundle.declaration), *own), None
    if own:
        raise UserError(
            f"{bundle.declaration.module} is not here, so there is no oracle for new inputs; leave --input out"
        )
    truths = read_vectors(bundle.path / "vectors.npz")
    return tuple(truth.case for truth in truths), truths


def _pictures(built: Built) -> tuple[MaskPicture, ...]:
    return tuple(
        MaskPicture(
            mask.name,
            str(mask.rule),
            mask.query_length,
            mask.key_length,
            mask.rule.svg(mask.query_length, mask.key_length)
            if max(mask.query_length, mask.key_length) <= LARGEST_MASK_DRAWN
            else "",
        )
        for mask in built.masks
    )
