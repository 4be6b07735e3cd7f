"""What the gate makes of each structural fault. `python -m tests.parity.fault_table docs/gate.md` writes the tables.

A number is the worst error as a share of its bound, over all cases: above 1 the fault is caught. Three places, since a
fault can sit in three:

    graph    the tracer or a pass computes something else than the torch source
    file     the file is not the graph that was checked (half precision only; in float32 every runtime sees it)
    runtime  a kernel computes something else than the file says
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from temport.exporter.build import rewrite, save
from temport.exporter.declare.declaration import HALF
from temport.exporter.graph import body_domains
from temport.exporter.parity.before_rounding import BeforeRounding
from temport.exporter.parity.file_checks import exact_truths, sources
from temport.exporter.parity.graph_oracle import Float64Graph
from temport.exporter.parity.oracle import Truth
from temport.exporter.parity.result import FAIL, ResultRow
from temport.exporter.parity.run import run_case
from temport.exporter.parity.stream import Streamed
from temport.exporter.parity.trial import Trial, cases_for
from temport.exporter.runtimes import runtime_named
from temport.exporter.runtimes.contract import Session
from tests.parity.faults import FAULTS, STEP_FAULTS, Fault
from tests.parity.small_models import MODELS, STEP_MODELS, Small, small

MARK = "<!-- below: python -m tests.parity.fault_table docs/gate.md -->"
PRECISIONS = ("float32", *HALF)
Shares = dict[str, float]
"""Place of the fault -> worst share of the bound."""


@dataclass(frozen=True)
class Judge:
    """The truths of a right model in one precision; files with faults are brought before it."""

    model: Small
    truths: tuple[Truth, ...]
    before: BeforeRounding
    right: Path
    folder: Path

    @classmethod
    def of(
        cls, arch: str, precision: str, folder: Path, streaming: bool = False, kinds: Sequence[str] = ()
    ) -> Judge:
        """`kinds` of cases; none: all."""
        model = small(arch, streaming, precision)
        before = BeforeRounding()
        path = folder / "right.onnx"
        save(rewrite(model.traced, model.declaration, before), path, external_data=False)
        trial = Trial.of(model.declaration, path, model.module, before)
        cases = [case for case in cases_for(model.declaration) if not kinds or case.kind in kinds]
        return cls(model, trial.truths(cases), before, path, folder)

    def shares(self, fault: Fault) -> Shares | None:
        """None where the architecture has no place for the fault."""
        declaration = self.model.declaration
        graph = self.model.traced.model.clone()
        if not fault(graph):
            return None
        before = BeforeRounding()
        path = self.folder / "faulty.onnx"
        save(rewrite(replace(self.model.traced, model=graph), declaration, before), path, external_data=False)
        half = declaration.precision in HALF
        runtime = runtime_named("op_reference" if half else "onnxruntime_cpu")
        trial = Trial.of(declaration, path, self.model.module)
        opened = Streamed(runtime) if declaration.streaming else runtime
        found: Shares = {}
        if half:
            plain, file = Float64Graph(before.unrounded()), Float64Graph(body_domains.read_model(path))
            found["graph"] = _worst(plain, sources(self.truths), "float32")
            found["file"] = _worst(file, exact_truths(self.truths), "float64")
        with opened.open(trial.subject) as session:
            found["runtime"] = _worst(session, self.truths, declaration.precision)
        return found


def _worst(session: Session, truths: Sequence[Truth], precision: str) -> float:
    return max(_share(run_case(session, truth, precision)) for truth in truths)


def _share(result: ResultRow) -> float:
    failed = [o for o in result.outputs.values() if o.verdict == FAIL and o.share is None]
    return float("inf") if failed else max(o.share or 0.0 for o in result.outputs.values())


def table(archs: Sequence[str], faults: dict[str, Fault], streaming: bool) -> list[str]:
    """Rows of a Markdown table."""
    places = [
        (p, place)
        for p in PRECISIONS
        for place in ("graph", "file", "runtime")
        if p in HALF or place == "runtime"
    ]
    if streaming:  # which is float32 only
        places = places[:1]
    rows = [
        "| architecture | fault | " + " | ".join(f"{p}, {place}" for p, place in places) + " |",
        "|---|---|" + "--:|" * len(places),
    ]
    for arch in archs:
        with tempfile.TemporaryDirectory() as folder:
            judges = {p: Judge.of(arch, p, Path(folder), streaming) for p in dict(places)}
            for name, fault in faults.items():
                found = {p: judge.shares(fault) for p, judge in judges.items()}
                if any(shares is None for shares in found.values()):
                    continue
                cells = [_cell((found[p] or {})[place]) for p, place in places]
                rows.append(f"| {arch} | {name} | " + " | ".join(cells) + " |")
    return rows


def _cell(share: float) -> str:
    if share == float("inf"):
        return "not finite"
    return f"{share:.2g}" if share < 100 else f"{share:.0f}" if share < 1e4 else f"{share:.0e}"


def main(page: Path) -> None:
    """Write the tables behind the mark in `page`; what stands before it is kept."""
    text, mark, _ = page.read_text().partition(MARK)
    parts = [
        text + mark,
        "## Whole models",
        "\n".join(table(list(MODELS), FAULTS, streaming=False)),
        "## Step models, frame by frame",
        "\n".join(table(STEP_MODELS, STEP_FAULTS, streaming=True)),
    ]
    page.write_text("\n\n".join(parts) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
