"""`temport parity`: a bundle is put to the test again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from torch import nn

from temport.exporter.bundle.directory import (
    Bundle,
    open_bundle,
    versions,
)
from temport.exporter.declare import weights
from temport.exporter.declare.architectures import load_factory, rebuild, seeded
from temport.exporter.errors import UserError
from temport.exporter.parity.cases import Case
from temport.exporter.parity.compare import HALF
from temport.exporter.parity.gate import merge
from temport.exporter.parity.oracle import Truth
from temport.exporter.parity.serial import read_json, write_json
from temport.exporter.parity.trial import Trial, cases_for, own_cases
from temport.exporter.parity.vectors import read_vectors
from temport.exporter.progress import Progress
from temport.exporter.report.html import write_html
from temport.exporter.report.table import print_table
from temport.exporter.runtimes import load
from temport.exporter.runtimes.runner import replay


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
        cases, truths = _known_or_recorded(bundle, trial, own)
        report = trial.run(cases, chosen, truths, progress.parity)
        for runner in runners:
            progress.step(f"replaying in {runner.name}")
            report = merge(report, replay(runner, path))
    earlier = read_json(path / "report.json")
    report = replace(
        report,
        passes=earlier.passes,
        op_counts=earlier.op_counts,
        flops=earlier.flops,
        masks=earlier.masks,
        warnings=tuple(dict.fromkeys((*earlier.warnings, *report.warnings))),
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


def _known_or_recorded(
    bundle: Bundle, trial: Trial, own: tuple[Case, ...]
) -> tuple[tuple[Case, ...], tuple[Truth, ...] | None]:
    """Cases to run with their truths (None: the torch source finds them).

    Without the torch source only the recorded ones have a truth. Nor has the source one of a half-precision file, whose
    weights were rounded after the export's passes: there the recorded ones are kept, and own inputs join them.
    """
    module = trial.subject.module
    if module is not None and bundle.declaration.precision not in HALF:
        return (*cases_for(bundle.declaration), *own), None
    if own and module is None:
        raise UserError(
            f"{bundle.declaration.module} is not here, so there is no oracle for new inputs; leave --input out"
        )
    truths = (*read_vectors(bundle.path / "vectors.npz"), *(trial.truths(own) if own else ()))
    return tuple(truth.case for truth in truths), truths
