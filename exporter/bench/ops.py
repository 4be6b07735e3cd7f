"""`temport bench ops`: our kernels against every peer on this machine, interleaved, and what memory each needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from temport.exporter.bench import op_contenders, op_memory
from temport.exporter.bench.announce import Say, announced
from temport.exporter.bench.contest import Row, contest, largest_difference
from temport.exporter.bench.machine import peak_flops
from temport.exporter.bench.op_cases import OpCase, cases
from temport.exporter.bench.op_contenders import CONTENDERS, OURS, absent, as_rows
from temport.exporter.errors import UserError
from temport.exporter.files import write_pair
from temport.exporter.machine import description

TOLERANCE = 1e-3
"""Of outputs of order 1: a contender further away computes something else."""
DENSE_LIMIT = 4096
"""Contenders with a length x length table are not timed beyond this length: minutes per sample and gigabytes."""
MEMORY_PEERS = (
    "OpenVINO, banded graph",
    "OpenVINO, blocked graph",
    "torch SDPA",
    "ONNX Runtime Attention-23",
)
"""Whose memory growth is measured where no contenders are chosen: each of them takes a process of its own."""


@dataclass(frozen=True)
class SpeedRow(Row):
    """useful_flops_per_second counts what the definition needs; `share` is its share of the measured peak of all
    threads; times_slower is the median as a multiple of ours."""

    useful_flops_per_second: float
    share: float
    times_slower: float


@dataclass(frozen=True)
class CaseResult:
    """One case at one number of threads, ours first; left_out: contender -> why it was not timed."""

    family: str
    length: int
    threads: int
    rows: list[SpeedRow]
    left_out: dict[str, str]

    @property
    def fastest_peer(self) -> SpeedRow | None:
        """None where nothing but this project's own ran."""
        peers = (row for row in self.rows if not row.name.startswith("temport"))
        return min(peers, key=lambda row: row.timing.median, default=None)


@dataclass(frozen=True)
class MemoryResult:
    """What a contender adds to the peak resident memory of its process; None where that did not survive."""

    family: str
    length: int
    name: str
    mebibytes: float | None


@dataclass(frozen=True)
class OpsReport:
    """peak_flops: FLOP/s of one thread doing only fused multiply-adds."""

    machine: str
    peak_flops: float
    results: list[CaseResult] = field(default_factory=list)
    memory: list[MemoryResult] = field(default_factory=list)

    def write(self, folder: Path) -> tuple[Path, Path]:
        """`bench-ops.json` and `bench-ops.svg` in `folder`."""
        from temport.exporter.bench.op_chart import chart

        return write_pair(folder, "bench-ops", asdict(self), chart(self))


@dataclass(frozen=True)
class _Speed:
    case: OpCase
    threads: int

    def __str__(self) -> str:
        return f"{self.case}, threads {self.threads}"


@dataclass(frozen=True)
class _Memory:
    case: OpCase
    name: str

    def __str__(self) -> str:
        return f"memory of {self.name}, {self.case}"


After = Callable[[OpsReport, CaseResult | MemoryResult], None]


def run(
    families: Sequence[str] = (),
    lengths: Sequence[int] = (),
    *,
    threads: Sequence[int] = (1, 2),
    seconds: float = 0.8,
    contenders: Sequence[str] = (),
    memory_length: int | None = 8192,
    progress: Say = lambda _: None,
    after: After = lambda report, latest: None,
) -> OpsReport:
    """Time every chosen case at every number of threads, then the memory growth at `memory_length` (None: not).

    families, lengths, contenders   empty: all; for memory the peers are then `MEMORY_PEERS`
    seconds                         per contender and case
    after                           is called with the report so far and what was measured last
    Raises UserError for unknown families, contenders or lengths, and when the library is not built.
    """
    for name in contenders:
        if name not in CONTENDERS:
            raise UserError(f"Unknown contender {name!r}; the contenders are {', '.join(CONTENDERS)}.")
    steps: list[_Speed | _Memory] = [
        _Speed(case, count) for case in cases(families, lengths) for count in threads
    ]
    if memory_length is not None:
        names = [name for name in CONTENDERS if name in (OURS, *(contenders or MEMORY_PEERS))]
        for case in cases(families, [memory_length]):
            steps += [_Memory(case, name) for name in names if absent(name, case) is None]
    report = OpsReport(description(), peak_flops())
    for step in announced(steps, progress):
        latest: CaseResult | MemoryResult
        if isinstance(step, _Memory):
            grown = op_memory.growth(step.name, step.case)
            latest = MemoryResult(step.case.family, step.case.length, step.name, grown)
            report.memory.append(latest)
        else:
            peak = report.peak_flops * step.threads
            names = [name for name in CONTENDERS if not contenders or name in (OURS, *contenders)]
            latest = _measure(step.case, names, step.threads, seconds, peak)
            report.results.append(latest)
        after(report, latest)
    return report


def _measure(case: OpCase, names: Sequence[str], threads: int, seconds: float, peak: float) -> CaseResult:
    torch.set_num_threads(threads)
    truth = as_rows(case, op_contenders.torch_op(case, threads)())

    def refusal(name: str) -> str | None:
        if CONTENDERS[name].dense and case.length > DENSE_LIMIT:
            return f"holds a length x length table; not timed beyond {DENSE_LIMIT}"
        return absent(name, case)

    rows, left_out = contest(
        names,
        (OURS,),
        absent=refusal,
        prepare=lambda name: CONTENDERS[name].prepare(case, threads),
        error=lambda output: largest_difference(as_rows(case, output), truth),
        allowed=TOLERANCE,
        seconds=seconds,
    )
    if OURS in left_out:
        raise UserError(f"{OURS} was not measured: {left_out[OURS]}.")
    ours = rows[0].timing.median
    speeds = []
    for row in rows:
        speed = case.useful_flops / row.timing.median
        slower = row.timing.median / ours
        speeds.append(SpeedRow(row.name, row.timing, row.error, speed, speed / peak, slower))
    return CaseResult(case.family, case.length, threads, speeds, left_out)
