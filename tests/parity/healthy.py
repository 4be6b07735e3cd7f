"""How much of its bound a healthy runtime uses, over many seeded models: `python -m tests.parity.healthy N [FIRST]`.

Prints, for each precision, the worst share of the bound, where it was, and how many rows failed. Nothing may fail.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

from temport.exporter.build import rewrite, save
from temport.exporter.parity.before_rounding import BeforeRounding
from temport.exporter.parity.result import FAIL, ILL, ParityReport
from temport.exporter.parity.trial import Trial, cases_for
from temport.exporter.runtimes import runtime_named
from tests.parity.small_models import MODELS, STEP_MODELS, Small, reseeded, small

RUNTIMES = {
    "float32": ("torch_float32", "op_reference", "onnxruntime_cpu", "onnxruntime_native", "openvino"),
    "float16": ("op_reference", "onnxruntime_cpu", "onnxruntime_native"),
    "bfloat16": ("op_reference",),
    "stream": ("onnxruntime_cpu", "onnxruntime_native"),
}
REPORT_EVERY = 50


def judged(model: Small, runtimes: tuple[str, ...], folder: Path) -> ParityReport:
    """The whole gate of an export, for one rewriting of a trace."""
    before = BeforeRounding()
    built = rewrite(model.traced, model.declaration, before)
    save(built, folder / "model.onnx", external_data=False)
    trial = Trial.of(model.declaration, folder / "model.onnx", model.module, before)
    cases = cases_for(model.declaration)
    return trial.run(cases, [runtime_named(name) for name in runtimes], None, lambda *step: None)


def main(count: int, first: int) -> None:
    """`count` models from seed `first` on, each in every precision; the architectures take turns."""
    worst = dict.fromkeys(RUNTIMES, (0.0, ""))
    tally: Counter[tuple[str, str]] = Counter()
    start = time.monotonic()
    archs = list(MODELS)
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(first, first + count):
            arch = archs[seed % len(archs)]
            for kind, runtimes in RUNTIMES.items():
                stream = kind == "stream"
                if stream and (arch not in STEP_MODELS or seed // len(archs) % 10):  # a tenth: they take long
                    continue
                model = reseeded(small(arch, stream), seed)
                precision = "float32" if stream else kind
                model = replace(model, declaration=replace(model.declaration, precision=precision))
                report = judged(model, runtimes, Path(folder))
                tally[kind, "models"] += 1
                tally[kind, "gates failed"] += not report.passed
                for row in (*report.checks, *report.runtimes):
                    for result in row.results:
                        tally[kind, "cases"] += 1
                        tally[kind, "ill-conditioned"] += result.verdict == ILL
                        tally[kind, "failed"] += result.verdict == FAIL
                        for output in result.outputs.values():
                            place = f"{arch} seed {seed}, {row.name}, {result.case} {output.reason}"
                            worst[kind] = max(worst[kind], (output.share or 0.0, place))
                for reason in report.reasons:
                    print(f"{kind} {arch} seed {seed}: {reason}", flush=True)
            if (done := seed - first + 1) % REPORT_EVERY == 0 or done == count:
                print(f"after {done} seeds, {time.monotonic() - start:.0f} s")
                _tell(worst, tally)


def _tell(worst: dict[str, tuple[float, str]], tally: Counter[tuple[str, str]]) -> None:
    for kind, (share, place) in worst.items():
        told = ", ".join(f"{n} {what}" for (k, what), n in tally.items() if k == kind)
        print(f"  {kind}: {told}; worst share {share:.2f} ({place})", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
