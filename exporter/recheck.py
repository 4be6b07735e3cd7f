"""`temport parity`: a bundle is put to the test again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from torch import nn

from temport.exporter.bundle.directory import (
    Bundle,
    open_bundle,
    sha256,
    versions,
)
from temport.exporter.compilers.targets import form_rows
from temport.exporter.compress.activations import with_rounded_inputs
from temport.exporter.declare import weights
from temport.exporter.declare.architectures import rebuild
from temport.exporter.declare.construct import seeded
from temport.exporter.declare.declaration import HALF
from temport.exporter.declare.loading import load_factory, source_file
from temport.exporter.declare.modules import called_as
from temport.exporter.errors import UserError, users_code
from temport.exporter.onnx_source.declare import reopened
from temport.exporter.parity.cases import Case, check_names
from temport.exporter.parity.gate import merge
from temport.exporter.parity.oracle import Truth
from temport.exporter.parity.result import ParityReport
from temport.exporter.parity.serial import read_json, write_json
from temport.exporter.parity.trial import Trial, cases_for, own_cases
from temport.exporter.parity.vectors import read_vectors
from temport.exporter.progress import Progress
from temport.exporter.report.html import write_html
from temport.exporter.report.table import print_table
from temport.exporter.runtimes import chosen
from temport.exporter.runtimes.runner import Runner, replay
from temport.exporter.streaming.sequences import of_sequences
from temport.exporter.terminal import Terminal


def run_parity_of_bundle(
    path: Path,
    runtimes: Sequence[str] = (),
    inputs: Sequence[Path] = (),
    out: Path | None = None,
    runners: Sequence[Runner] = (),
    console: Console | None = None,
    *,
    source: str | None = None,
    digest: str | None = None,
    strict: bool = False,
) -> bool:
    """Repeat the parity check of a bundle, print it, and write it into `out` where that is given.

    The other arguments are those of `parity_of_bundle`.
    """
    console = console or Terminal()
    if out is not None:
        with _writing(out):
            out.mkdir(parents=True, exist_ok=True)
    bundle = open_bundle(path, digest, strict=strict)
    with Progress(console) as progress:
        report = parity_of_bundle(bundle, runtimes, inputs, runners, progress, source=source)
    if out is not None:
        with _writing(out):
            write_json(report, out / "report.json")
            write_html(report, out / "report.html")
    print_table(report, console)
    console.print(f"digest {bundle.digest}", soft_wrap=True)
    return report.passed


def parity_of_bundle(
    bundle: Bundle,
    runtimes: Sequence[str],
    inputs: Sequence[Path],
    runners: Sequence[Runner],
    progress: Progress,
    *,
    source: str | None = None,
) -> ParityReport:
    """Repeat the parity check of a bundle, from its own weights and declaration.

    runtimes  by name; none: every fast one, and no form that the bundle holds, which is a program
    runners   their rows join the report, judged by its bounds
    source    the `path.py:factory` or the file of a bundle that was made of one; without it the recorded inputs are
              replayed
    """
    rows = chosen(runtimes)
    path, declaration = bundle.path, bundle.declaration
    own = own_cases(declaration, inputs)
    progress.step("rebuilding")
    module = rebuilt_module(bundle, source)
    trial = Trial.of(declaration, bundle.model_path, module)
    cases, truths = _known_or_recorded(bundle, trial, own)
    report = trial.run(cases, rows, truths, progress.parity)
    for runner in runners:
        progress.step(f"replaying in {runner.name}")
        report = merge(report, replay(runner, path))
    open_bundle(path, bundle.digest)  # runtimes open files themselves: they still are what was hashed
    earlier = read_json(path / "report.json")
    return replace(
        report,
        passes=earlier.passes,
        op_counts=earlier.op_counts,
        flops=earlier.flops,
        masks=earlier.masks,
        found=earlier.found,
        compression=earlier.compression,
        stream=earlier.stream,
        warnings=tuple(
            dict.fromkeys(
                (
                    *earlier.warnings,
                    *report.warnings,
                    *_changed_source(bundle, source),
                    *_forms_left_out(bundle, report),
                )
            )
        ),
        versions=versions(),
        digest=bundle.digest,
    )


def _forms_left_out(bundle: Bundle, report: ParityReport) -> list[str]:
    ran = {row.name for row in report.runtimes}
    return [
        f"the bundle's own form for {name} was not judged: it is run where --runtime {name} asks for it"
        for name in form_rows(bundle.path)
        if name not in ran
    ]


@contextlib.contextmanager
def _writing(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write to {out}: {error.strerror}; choose another --out") from error


def rebuilt_module(bundle: Bundle, source: str | None = None) -> nn.Module | None:
    """The torch source of a bundle, filled with the bundle's weights: its architecture, or what `source` makes.

    source  `path.py:factory` or the ONNX file, for a bundle that was made of one

    Nothing that a manifest names is ever imported: a bundle from elsewhere would run its own code here. None where the
    bundle was made of a factory and the caller names none, or is a stream of a version that made none of graphs.
    """
    declaration = bundle.declaration
    if declaration.streaming and declaration.sequences is None:
        return None
    if declaration.module is None:
        if source is not None:
            raise UserError(f"the bundle was made of {declaration.arch}, not of a module; leave --module out")
        module = rebuild(declaration)
    elif source is None:
        return None
    elif declaration.of_onnx:
        behind = declaration if declaration.sequences is None else of_sequences(declaration)
        module = reopened(Path(source), behind)
    else:
        make = load_factory(source)
        with users_code(f"{source} makes no module"):
            module = seeded(make, declaration.seed)[0]
        behind = declaration if declaration.sequences is None else of_sequences(declaration)
        module = called_as(module, behind)
    weights.fill(module, bundle.path / "weights.safetensors", "own", declaration.arch, None)
    if not declaration.input_scales:
        return module
    return with_rounded_inputs(module, declaration.input_scales, declaration.rounded_to)


def _changed_source(bundle: Bundle, source: str | None) -> tuple[str, ...]:
    """A warning where the file of the module is not the one that the bundle was made of."""
    recorded = bundle.manifest.get("source")
    if source is None or recorded is None:
        return ()
    path = source_file(source)
    if path is None or sha256(path) == recorded:
        return ()
    return (f"{path} has changed since the bundle was made of it",)


def _known_or_recorded(
    bundle: Bundle, trial: Trial, own: tuple[Case, ...]
) -> tuple[tuple[Case, ...], tuple[Truth, ...] | None]:
    """Cases to run with their truths (None: the torch source finds them).

    Without the torch source only the recorded ones have a truth. Nor has the source one of a half-precision file, whose
    weights were rounded after the export's passes: there the recorded ones are kept, and own inputs join them.
    """
    module = trial.source.module
    if module is not None and bundle.declaration.precision not in HALF:
        return (*cases_for(bundle.declaration), *own), None
    if own and module is None:
        raise UserError(
            f"the bundle was made of {bundle.declaration.module}; without it only the recorded inputs have a truth, so "
            "give --module PATH.py:FACTORY, or the file, or leave --input out"
        )
    recorded = read_vectors(bundle.path / "vectors.npz")
    check_names([*(truth.case for truth in recorded), *own])
    truths = (*recorded, *(trial.truths(own) if own else ()))
    return tuple(truth.case for truth in truths), truths
