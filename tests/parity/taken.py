"""Which of the architectures a runtime takes: `python -m tests.parity.taken RUNTIME [RUNTIME ...]`.

Every architecture's first small model as a window, and as a stream where it streams: a row of the gate each, on one
case. Prints a table for docs/runtimes.md, and below it why a model did not run or what was wrong.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from torch import nn

from temport.exporter.build import build, save
from temport.exporter.declare.declaration import Declaration
from temport.exporter.parity.result import NOT_RUN, PASS, RuntimeRow
from temport.exporter.parity.trial import Trial, cases_for
from temport.exporter.runtimes import runtime_named
from temport.graphs.registry import ARCHITECTURES
from tests.small_models import SMALL, STREAMING


def models() -> Iterator[tuple[str, Declaration, nn.Module]]:
    """Name, declaration and module of every window and every stream."""
    for name in ARCHITECTURES:
        variant, model = next(item for item in SMALL.items() if item[1].arch.name == name)
        yield name, *model.declare(seq="9", memory="5")
        if variant in STREAMING:
            yield f"{name}, stream", *model.declare_stream(seq="9")


def row_of(runtime: str, declaration: Declaration, module: nn.Module) -> RuntimeRow:
    """One row of the gate, on the first case."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        built = build(module, declaration)
        save(built, path, external_data=False)
        trial = Trial.of(built.declaration, path, module)
        report = trial.run(cases_for(declaration)[:1], [runtime_named(runtime)], None, lambda *step: None)
    return replace(report.runtimes[0], name=runtime)


def main(runtimes: list[str]) -> None:
    reasons = []
    print("| model |", " | ".join(runtimes), "|")
    print("| --- |", " | ".join("---" for _ in runtimes), "|")
    for name, declaration, module in models():
        words = []
        for runtime in runtimes:
            row = row_of(runtime, declaration, module)
            words.append({PASS: "yes", NOT_RUN: "no"}.get(row.verdict, "**wrong**"))
            wrong = next((o.reason for r in row.results for o in r.outputs.values() if o.reason), "")
            if row.verdict != PASS:
                reasons.append(f"{runtime}, {name}: {row.reason or wrong or 'outside its bound'}")
        print(f"| {name} |", " | ".join(words), "|", flush=True)
    print("", *reasons, sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
