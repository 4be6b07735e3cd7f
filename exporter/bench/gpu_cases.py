"""What is measured on a GPU: cases, their useful arithmetic, and the least they must move.

Standard library only: `gpu.py` runs from a plain checkout beside torch.
"""

from __future__ import annotations

from dataclasses import dataclass

ELEMENT_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
ROWS_AT_ONCE = 16384
"""Batch times length stays near this, so that short cases fill the device too."""
LENGTHS = tuple(2**n for n in range(9, 17))
WINDOWS = (60, 256, 1024)


@dataclass(frozen=True)
class GpuCase:
    """One measurement. `family` is `causal`, `window` or `block_linear`; `span` is the window or the block
    size."""

    family: str
    length: int
    span: int = 0
    heads: int = 16
    head_dim: int = 64
    element_type: str = "bfloat16"
    batch: int = 1

    def __str__(self) -> str:
        span = f"{self.span}" if self.span else ""
        return f"{self.family}{span}-B{self.batch}-N{self.length}-H{self.heads}-D{self.head_dim}-{self.element_type}"

    @property
    def scale(self) -> float:
        return self.head_dim**-0.5

    @property
    def pairs(self) -> int:
        """Query-key pairs that the softmax sees, of one head of one sequence."""
        n = self.length
        if self.family == "window" and self.span < n:
            return self.span * (self.span + 1) // 2 + (n - self.span) * self.span
        if self.family == "block_linear":
            whole, rest = divmod(n, self.span)
            return whole * self.span * (self.span + 1) // 2 + rest * (rest + 1) // 2
        return n * (n + 1) // 2

    @property
    def flops(self) -> int:
        """Multiplications and additions of the matrix products over allowed pairs; softmax is left out."""
        per_head = 4 * self.head_dim * self.pairs
        if self.family == "block_linear":
            per_head += 4 * self.head_dim**2 * self.length  # states and their use
        return self.batch * self.heads * per_head

    @property
    def bytes(self) -> int:
        """Q, K, V read once and Y written once."""
        return 4 * self.batch * self.length * self.heads * self.head_dim * ELEMENT_BYTES[self.element_type]


def plan(lengths: tuple[int, ...] = LENGTHS) -> list[GpuCase]:
    """Every case of the full run, in the order in which it is made."""
    cases = []
    for n in lengths:
        batch = max(1, ROWS_AT_ONCE // n)
        for dim in (64, 128):
            cases.append(GpuCase("causal", n, 0, 16 * 64 // dim, dim, "bfloat16", batch))
        cases += [GpuCase("window", n, w, batch=batch) for w in WINDOWS if w < n]
        cases.append(GpuCase("block_linear", n, 64, batch=batch))
        if n in (2048, 16384):
            cases.append(GpuCase("window", n, 256, element_type="float16", batch=batch))
        if n in (512, 2048):
            cases.append(GpuCase("causal", n, element_type="float32", batch=batch))
    return cases


@dataclass(frozen=True)
class Target:
    """A claim with the figure that decides it; `met` is None where the figure could not be measured."""

    claim: str
    figure: float | None
    least: float

    @property
    def met(self) -> bool | None:
        return None if self.figure is None else self.figure >= self.least


def targets(seconds: dict[GpuCase, dict[str, float]], peak_flops: float, bandwidth: float) -> list[Target]:
    """The three claims made for the kernels, from median seconds per case and contender."""

    def ratio(case: GpuCase, prefix: str) -> float | None:
        times = seconds.get(case, {})
        peers = [t for name, t in times.items() if name.startswith(prefix)]
        return min(peers) / times["ours"] if peers and "ours" in times else None

    causal = [ratio(case, "sdpa") for case in seconds if case.family == "causal" and case.length >= 2048
              and case.element_type != "float32"]  # fmt: skip
    known = [figure for figure in causal if figure is not None]
    window = [ratio(c, "sdpa") for c in seconds if (c.family, c.length, c.span) == ("window", 16384, 256)
              and c.element_type == "bfloat16"]  # fmt: skip
    linear = [
        max(c.flops / peak_flops, c.bytes / bandwidth) / seconds[c]["ours"]
        for c in seconds
        if (c.family, c.length) == ("block_linear", 65536) and "ours" in seconds[c]
    ]
    return [
        Target(
            "full causal from N = 2048 on, worst case against the best SDPA backend",
            min(known, default=None),
            0.7,
        ),
        Target(
            "window 256 at N = 16384, times faster than the best SDPA backend", next(iter(window), None), 5.0
        ),
        Target(
            "block-linear at N = 65536, share of the compute or memory roof", next(iter(linear), None), 0.6
        ),
    ]
