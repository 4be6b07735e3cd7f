"""Does the source run in every type that its truth needs? Asked of one case, before anything that takes long."""

from __future__ import annotations

from temport.exporter.parity.cases import Case
from temport.exporter.runtimes.subject import Subject
from temport.exporter.runtimes.torch_eager import Source


def attempt(subject: Subject, case: Case) -> None:
    """UserError where a user's own module fails in float64, which the oracle is made of, or in the model's type."""
    for dtype in dict.fromkeys(("float64", subject.declaration.precision)):
        with Source(dtype).open(subject) as source:
            source.run(case.inputs)
