"""`temport export`: from a request to a bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import onnx_ir as ir
from rich.console import Console
from torch import nn
from torch.export import ExportedProgram

from temport.exporter.add_target import add_target, check_taken, check_target, rows_with
from temport.exporter.asked import fields_of, read_config
from temport.exporter.build import Built, Keep, rewrite, save, traced_source
from temport.exporter.bundle.directory import sha256, versions, write_manifest, write_vectors
from temport.exporter.bundle.staging import staged
from temport.exporter.bundle.stream_entry import stream_entry
from temport.exporter.compress.compress import compress, judged_cases
from temport.exporter.compress.rings import as_trained, rings_alone, with_rings
from temport.exporter.declare import weights
from temport.exporter.declare.declaration import HALF, Declaration
from temport.exporter.declare.live import Range, input_specs
from temport.exporter.declare.loading import source_file
from temport.exporter.declare.program import program_module, program_specs
from temport.exporter.errors import UserError
from temport.exporter.logs import LOG
from temport.exporter.native.engine import TARGET as NATIVE
from temport.exporter.parity.before_rounding import BeforeRounding
from temport.exporter.parity.cases import Case
from temport.exporter.parity.guilty import guilty_pass
from temport.exporter.parity.overflow import find_overflow
from temport.exporter.parity.replay import record
from temport.exporter.parity.result import MaskPicture, ParityReport, PassRow, StreamRow
from temport.exporter.parity.serial import write_json
from temport.exporter.parity.trial import Trial, cases_for, own_cases
from temport.exporter.parity.vectors import to_vectors
from temport.exporter.passes.kept import kept_passes
from temport.exporter.passes.order import left_out
from temport.exporter.progress import Progress
from temport.exporter.report.html import write_html
from temport.exporter.report.table import print_table
from temport.exporter.request import ExportRequest, declared, default_out, wished
from temport.exporter.runtimes import chosen
from temport.exporter.streaming.beside_window import window
from temport.exporter.terminal import Terminal

LARGEST_MASK_DRAWN = 512
"""Beyond this many rows a drawing of a mask shows nothing more."""


@dataclass(frozen=True)
class Exported:
    """A bundle that was just written, its parity report and its digest."""

    path: Path
    report: ParityReport
    digest: str

    @property
    def passed(self) -> bool:
        """Whether every runtime that ran agrees with the oracle, and every engine that is for this machine ran."""
        return self.report.passed


def export(
    model: str | nn.Module | ExportedProgram | None = None,
    inputs: Any = None,
    *,
    axes: Mapping[str, Mapping[int, str]] | None = None,
    ranges: Mapping[str, Range] | None = None,
    **asked: Any,
) -> Exported:
    """What `temport export` does, without a word on the terminal but for what the report warns of.

    The logger "temport" says the steps (INFO) and the passes (DEBUG).

    model   an architecture's name; a module, which is copied and put into eval mode; or a program of torch.export,
            which states its inputs itself. `onnx=` names an ONNX file
    inputs  of a module: example tensors by name (dictionaries and lists of tensors too), or a tuple in forward's order;
            floating-point values do not matter, integers take the range of values that the example has
    axes    of a module: which axes are open, `{"frames": {0: "batch", 1: "seq"}}`
    ranges  of a module or a file: a size or `(min, opt, max)` for each named axis, `{"seq": (1, 60, 1024)}`
    asked   fields of `ExportRequest`; `seq`, `batch` and `memory` may be numbers, paths may be texts; `calibrate` is
            one or several. `config` names a TOML file for the fields that are not asked here

    UserError for bad input, TypeError for an unknown argument.
    """
    if isinstance(model, ExportedProgram):
        module = program_module(model)
        stated = inputs is None and axes is None
        specs = program_specs(model, ranges) if stated else input_specs(module, inputs, axes, ranges)
        asked |= {"live": (module, specs)}
    elif isinstance(model, nn.Module):
        asked |= {"live": (model, input_specs(model, inputs if inputs is not None else {}, axes, ranges))}
    else:
        asked |= {} if model is None else {"arch": model}
        of_file = asked.get("onnx") is not None or asked.get("module") is not None
        if inputs is not None or axes or (ranges and not of_file):
            raise UserError("inputs, axes and ranges belong to a module; an architecture has its own")
        asked |= _texts(ranges or {})
    texts = {key: str(value) for key, value in asked.items() if key in ("seq", "batch", "memory")}
    paths = {
        key: Path(asked[key])
        for key in ("onnx", "out", "weights", "keep_passes")
        if asked.get(key) is not None
    }
    if (given := asked.get("calibrate")) is not None:
        asked["calibrate"] = tuple(map(Path, [given] if isinstance(given, str | Path) else given))
    config = asked.pop("config", None)
    sources = {"arch" if name == "live" else name for name in asked}
    found = {} if config is None else fields_of(read_config(Path(config), sources))
    try:
        request = ExportRequest(**(found | asked | texts | paths))
    except TypeError as error:
        raise UserError(f"export has {', '.join(f.name for f in fields(ExportRequest))}; {error}") from error
    exported = run_export(request, Terminal(quiet=True))
    for warning in (*exported.report.warnings, *exported.report.unjudged):
        LOG.warning("%s: %s", exported.path.name, warning)
    return exported


def _texts(ranges: Mapping[str, Range]) -> dict[str, Any]:
    """Ranges as the fields of a request say them: `seq` and `batch` have their own, others are `axes`."""
    texts = {n: ":".join(map(str, r)) if isinstance(r, tuple) else str(r) for n, r in ranges.items()}
    own = {name: text for name, text in texts.items() if name in ("batch", "seq")}
    others = tuple(f"{name}={text}" for name, text in texts.items() if name not in own)
    return own | ({"axes": others} if others else {})


def run_export(request: ExportRequest, console: Console | None = None) -> Exported:
    """Write the bundle and say on the console how every runtime did."""
    console = console or Terminal()
    check_target(request.target, request.compile)
    runtimes = rows_with(request.target, chosen(request.runtimes))
    request = replace(request, without=left_out(request.without))
    with Progress(console) as progress:
        progress.step("declaring")
        declaration, module = declared(request)
        check_taken(request.target, declaration)
        cases = cases_for(declaration, request.inputs)
        compression, trained = None, module
        beyond: tuple[str, ...] = ()
        if request.weights_dtype is not None:
            progress.step("compressing weights")
            recorded = own_cases(declaration, request.calibrate)
            module, compression, scales = compress(
                module,
                as_trained(declaration),
                cases,
                len(request.inputs),
                wished(request),
                recorded,
            )
            declaration = replace(declaration, input_scales=scales)
        if request.kv_dtype is not None:
            progress.step("rounding keys and values")
            account = compression or rings_alone(judged_cases(cases, len(request.inputs)))
            wish = None if request.weights_dtype is None else wished(request)
            compression, beyond = with_rings(account, trained, module, declaration, cases, wish)
        out = (request.out or default_out(declaration)).absolute()
        with staged(out) as work, kept_passes(request.keep_passes) as keep:
            Trial.of(declaration, work / "model.onnx", module).attempt(cases[0])
            progress.step("tracing")
            traced = traced_source(module, declaration)
            progress.step("rewriting")
            before = BeforeRounding() if declaration.precision in HALF else None
            built = rewrite(traced, declaration, _both(keep, before))
            declaration = built.declaration
            save(built, work / "model.onnx", request.external_data)
            (work / "weights.safetensors").write_bytes(weights.serialise(module, request.weights_dtype))
            told = (*beyond, *_overflows(built, cases))
            trial = Trial.of(declaration, work / "model.onnx", module, before)
            progress.step("float64 oracle")
            truths = trial.truths(cases)
            write_vectors(work / "vectors.npz", to_vectors(truths))
            engine = None
            if request.target is not None:
                engine = add_target(request.target, request.compile, trial.subject, out.name, progress)
                told = (*told, *engine.warnings)
            report = trial.run(cases, runtimes, truths, progress.parity)
            if request.target == NATIVE:
                record(work, report.runtimes)
            if not report.passed and (guilty := guilty_pass(built, report, truths)) is not None:
                report = replace(report, reasons=(*report.reasons, guilty))
            report = replace(
                report,
                passes=_passes(built),
                op_counts=built.op_counts,
                flops=built.flops,
                masks=_pictures(built),
                found=built.found,
                compression=compression,
                stream=_stream(module, declaration),
                warnings=(*declaration.notes, *built.warnings, *told, *report.warnings),
                versions=versions(),
            )
            write_json(report, work / "report.json")
            write_html(report, work / "report.html")
            digest = write_manifest(
                work, declaration, built.mask_records(), {"verdict": report.verdict} | _source(declaration)
            )
    print_table(report, console)
    if engine is not None:
        console.print(engine.summary, soft_wrap=True, highlight=False)
    console.print(
        f"{'wrote' if report.passed else 'wrote, with a failed parity gate,'} {out}", soft_wrap=True
    )
    console.print(f"digest {digest}", soft_wrap=True)
    return Exported(out, report, digest)


def _stream(module: nn.Module, declaration: Declaration) -> StreamRow | None:
    """What the report says of a step model; of one that was made of a graph also what the window would cost."""
    entry = stream_entry(declaration)
    if entry is None:
        return None
    length, flops = window(module, declaration) if declaration.sequences is not None else (0, None)
    told = tuple(entry["static"]), entry["delay"], entry.get("rate"), entry.get("warm_up")
    return StreamRow(*told, declaration.inputs[0].at()[0], length, flops, entry.get("frames"))


def _both(*watchers: Keep | None) -> Keep:
    """What to call with each graph of a rewriting: all of the watchers that there are."""

    def keep(name: str, model: ir.Model) -> None:
        for watcher in watchers:
            if watcher is not None:
                watcher(name, model)

    return keep


def _overflows(built: Built, cases: Sequence[Case]) -> tuple[str, ...]:
    """Tensors that the half type cannot hold on these very inputs, measured on the float32 graph.

    In standard operators: fused ops, which float32 has and half types have not, would hide some of the tensors.
    """
    if built.half is None or built.declaration.streaming:
        return ()
    single = rewrite(built.traced, replace(built.declaration, precision="float32", ops="standard"))
    found = find_overflow(
        ir.to_proto(single.model),
        built.model,
        built.half.half,
        {c.name: c.inputs for c in cases},
        built.half.precision,
    )
    return tuple(f"overflow in {built.half.precision}: {overflow}" for overflow in found)


def _source(declaration: Declaration) -> dict[str, str]:
    """The sha256 of the file of a user's own module, so that a later check can tell whether it changed."""
    path = None if declaration.module is None else source_file(declaration.module)
    return {} if path is None else {"source": sha256(path)}


def _passes(built: Built) -> tuple[PassRow, ...]:
    """What the report says of the passes."""
    return tuple(
        PassRow(run.name, run.why, run.changed, run.nodes, round(run.seconds * 1e3, 1))
        for run in built.passes
    )


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
