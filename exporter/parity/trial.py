"""What a parity run puts to the test, for a model of whole sequences or of single frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import nn

from temport.exporter.declare.declaration import HALF, Declaration
from temport.exporter.declare.streams import open_frames, sequence_declaration
from temport.exporter.graph import body_domains
from temport.exporter.parity.attempt import attempt
from temport.exporter.parity.before_rounding import BeforeRounding
from temport.exporter.parity.cases import Case, check_names, default_cases
from temport.exporter.parity.file_checks import check_file
from temport.exporter.parity.files import read_case
from temport.exporter.parity.gate import gate
from temport.exporter.parity.graph_oracle import Float64Graph
from temport.exporter.parity.oracle import Truth, find_truths
from temport.exporter.parity.result import ParityReport
from temport.exporter.parity.run import run_parity
from temport.exporter.parity.stream import Streamed, as_session, locate_frames
from temport.exporter.runtimes import every
from temport.exporter.runtimes.contract import Runtime
from temport.exporter.runtimes.subject import Subject
from temport.exporter.streaming.oracle import WholeStream
from temport.exporter.streaming.shapes import TIME


@dataclass(frozen=True)
class Trial:
    """Cases, their truths, and the runtimes that face them.

    subject  what the runtimes open
    source   what the oracle opens: the same, or the sequence form of a step model
    before   half precision: the graph before its weights were rounded, where this is an export
    """

    subject: Subject
    source: Subject
    before: BeforeRounding | None = None

    @classmethod
    def of(
        cls,
        declaration: Declaration,
        model_path: Path,
        module: nn.Module | None,
        before: BeforeRounding | None = None,
    ) -> Trial:
        """`module` is the architecture or the user's own module; None where it is not at hand."""
        if not declaration.streaming:
            subject = Subject(declaration, model_path, module)
            return cls(subject, subject, before if declaration.precision in HALF else None)
        stream = None if module is None else WholeStream(module, declaration)
        told = open_frames() if declaration.sequences is None else None  # a bundle of before says no length
        return cls(
            Subject(declaration, model_path),
            Subject(sequence_declaration(declaration, told), model_path, stream),
            before if declaration.precision in HALF else None,
        )

    def attempt(self, case: Case) -> None:
        """UserError where the source does not run in a type that its truth needs."""
        attempt(self.source, case)

    def truths(self, cases: Sequence[Case]) -> tuple[Truth, ...]:
        if self.subject.declaration.precision not in HALF:
            return find_truths(self.source, cases)
        declaration = self.subject.declaration
        if self.before is not None:
            rounded = as_session(Float64Graph(self.before.rounded()), declaration)
            return find_truths(self.source, cases, rounded=rounded)
        # without the graph before rounding, the file has to say itself what its weights give
        file = as_session(Float64Graph(body_domains.read_model(self.subject.model_path)), declaration)
        return tuple(replace(t, of_file=True) for t in find_truths(self.source, cases, rounded=file))

    def run(
        self,
        cases: Sequence[Case],
        runtimes: Sequence[Runtime] | None,
        truths: Sequence[Truth] | None,
        progress: Callable[[str, int, int], None],
    ) -> ParityReport:
        """Every runtime (None: all) over every case; a stream is run frame by frame."""
        truths = self.truths(cases) if truths is None else truths
        chosen = every() if runtimes is None else list(runtimes)
        if not self.subject.declaration.streaming:
            report = run_parity(self.subject, cases, chosen, truths=truths, progress=progress)
            return self._checked(report, truths)
        streamed = [Streamed(runtime) for runtime in chosen]
        report = run_parity(self.subject, cases, streamed, truths=truths, progress=progress)
        return self._checked(locate_frames(report, self.subject, streamed, truths), truths)

    def _checked(self, report: ParityReport, truths: Sequence[Truth]) -> ParityReport:
        """The report with what the file itself says, which has a part in the verdict."""
        if self.subject.declaration.precision not in HALF:
            return report
        checks = check_file(self.subject, truths, self.before)
        verdict, reasons = gate(report.runtimes, checks)
        return replace(report, checks=checks, verdict=verdict, reasons=reasons)


def cases_for(declaration: Declaration, files: Sequence[Path] = ()) -> tuple[Case, ...]:
    """The generated cases and the user's own; those of a step model are streams. UserError where two have one name."""
    whole = sequence_declaration(declaration) if declaration.streaming else declaration
    cases = (*_held_still(declaration, default_cases(whole)), *own_cases(declaration, files))
    check_names(cases)
    return cases


def own_cases(declaration: Declaration, files: Sequence[Path]) -> tuple[Case, ...]:
    """The user's own inputs; for a step model a stream of any length."""
    shaped = sequence_declaration(declaration, open_frames()) if declaration.streaming else declaration
    return tuple(read_case(path, shaped) for path in files)


def _held_still(declaration: Declaration, cases: tuple[Case, ...]) -> tuple[Case, ...]:
    """Static inputs keep one value through a stream: what changes them has no model of sequences to compare with."""
    told = declaration.sequences
    static = [s.name for s in told.inputs if TIME not in [a.name for a in s.axes()]] if told else []
    return tuple(
        replace(
            case,
            inputs=case.inputs
            | {
                name: np.repeat(x[:, :1], x.shape[1], axis=1)
                for name, x in case.inputs.items()
                if name in static
            },
        )
        for case in cases
    )
