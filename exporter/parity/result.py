"""What a parity run found, as frozen values that travel as `report.json`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

FORMAT = 1

PASS = "pass"
FAIL = "fail"
ILL = "ill-conditioned"
"""Torch's own error is so large that neither a pass nor a failure would mean anything."""
NOT_RUN = "not run"

CHECKS = {
    "graph": "the graph before its weights were rounded, against the source, as float32 is judged",
    "source": "the source, against what it gave when this was exported",
    "weights": "how far rounding the weights moved the output, against what it costs the source",
    "file": "the file in float64, against the graph with its weights as rounded",
}
"""What the rows about the file itself mean."""


@dataclass(frozen=True)
class Bound:
    """The numbers behind one verdict: `allowed = 2*torch_error + 16*eps*scale`.

    scale              max |oracle|, or what was summed where that is 0; None where the oracle is not finite
    torch_error        torch's max abs error in the model's precision, worst over the case and its jittered copies;
                       None where torch itself gave NaN or infinity
    allowed            the largest error that passes; None where `judgeable` is False
    conditioning       relative response of the oracle to input changes of one ulp, in ulps
    judgeable          False where torch_error exceeds the ceiling or the oracle is not finite
    allowed_rms_ratio  the largest rms(error) / rms(oracle) that passes; None where only the largest error is judged
    weights            half precision: how far the oracle is from the torch source, because weights were rounded
    allowed_weights    half precision: how far it may be, by what rounding the source's own weights costs
    """

    scale: float | None
    torch_error: float | None
    allowed: float | None
    conditioning: float | None
    judgeable: bool
    allowed_rms_ratio: float | None = None
    weights: float | None = None
    allowed_weights: float | None = None


@dataclass(frozen=True)
class CaseRow:
    """One set of inputs: how it was made, its shapes, and the bound of each output."""

    name: str
    kind: str
    shapes: dict[str, tuple[int, ...]]
    bounds: dict[str, Bound]


@dataclass(frozen=True)
class OutputRow:
    """How one output compares with the oracle; measures are None where they are undefined.

    quantiles  5, 25, 50, 75, 95 and 100 % quantiles of |error|
    share      the worst error as a share of its bound, over all rules; up to 1 passes
    """

    verdict: str
    reason: str
    max_abs: float | None = None
    max_rel: float | None = None
    rms_ratio: float | None = None
    cosine: float | None = None
    quantiles: tuple[float, ...] = ()
    share: float | None = None


@dataclass(frozen=True)
class ResultRow:
    """One case in one runtime.

    outputs_sha256  of the outputs, as `replay` computes it; empty where the runtime does not promise the same bytes
    """

    case: str
    verdict: str
    outputs: dict[str, OutputRow]
    outputs_sha256: str = ""


@dataclass(frozen=True)
class Divergence:
    """The first tensor, in topological order, that leaves its bound in a failing runtime.

    where   `runtime` (the file is right), `file` (the file differs from the source), `unlocated`
    """

    case: str
    where: str
    tensor: str
    op: str
    node: str
    error: float | None
    allowed: float | None
    explanation: str


@dataclass(frozen=True)
class RuntimeRow:
    """One runtime over all cases.

    verdict  worst of its cases: `fail`, `ill-conditioned`, `pass`, or `not run`
    reason   why it was not run or failed to run; empty otherwise
    engine   the target whose engine in the bundle it runs; empty where it runs the model's file
    """

    name: str
    version: str
    path: str
    verdict: str
    reason: str
    results: tuple[ResultRow, ...] = ()
    divergence: Divergence | None = None
    engine: str = ""

    @property
    def unjudged(self) -> str:
        """The sentence about an engine of which nothing could be proved on this machine; empty otherwise."""
        if not self.engine or self.verdict != NOT_RUN:
            return ""
        return f"engine {self.engine} was not judged here: {self.reason}"


@dataclass(frozen=True)
class MaskPicture:
    """One baked mask: its rule in words, its size, and the rule's own drawing (empty where too large to draw)."""

    name: str
    rule: str
    query_length: int
    key_length: int
    svg: str


@dataclass(frozen=True)
class StoredWeight:
    """A weight of the source, and the type that it is stored in.

    alone  the loss that it alone brings in the type that was asked for; None where nobody had to know
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    alone: float | None


@dataclass(frozen=True)
class RoundedInput:
    """A dense layer whose input can be rounded to int8 or fp8 times a scale: None where it stays as it is.

    alone   the loss that this rounding alone brings; None where nobody had to know
    evened  the parameter out of which powers of two were divided, which the layer's weight was multiplied by; None: as
            it was trained
    """

    layer: str
    scale: float | None
    alone: float | None
    evened: str | None = None


@dataclass(frozen=True)
class Loss:
    """How far the model with its weights as stored is from the one that was trained, both in float64.

    largest    the largest error, as a share of the output's largest value
    rms        root mean square of the error, as a share of the output's
    agreement  the share of rows whose largest entry is the same one; None of an output that has no such rows. Of an
               output of integers, the share of its entries that are the same
    flipped    how many rows have another one, or how many integers are others
    margin     the largest lead that one of those had, as a share of the output's largest value
    windows    of a stream: the largest error in each quarter of it
    """

    case: str
    output: str
    largest: float
    rms: float
    agreement: float | None
    flipped: int | None
    margin: float | None
    windows: tuple[float, ...] = ()


@dataclass(frozen=True)
class Compression:
    """Weights and rings in fewer bits: what was asked, what became of each weight and of inputs of layers, the cost.

    dtype     that weights were asked in; float32: they are as trained
    judged    the cases that `max_loss` holds for
    metric    the user's function that `max_loss` bounds; None: the largest error of an output
    measured  what it says of each judged case
    rings     what the rings of keys and values of a stream hold
    absorbed  weights that made keys of one head, whose product with that of the queries is what was rounded
    """

    dtype: str
    max_loss: float | None
    judged: tuple[str, ...]
    weights: tuple[StoredWeight, ...]
    losses: tuple[Loss, ...]
    metric: str | None = None
    measured: dict[str, float] = field(default_factory=dict)
    inputs: tuple[RoundedInput, ...] = ()
    rings: str = "float32"
    absorbed: tuple[str, ...] = ()


@dataclass(frozen=True)
class PassRow:
    """One pass of the export: whether it changed anything, the nodes of the graph after it, its time."""

    name: str
    why: str
    changed: bool
    nodes: int
    ms: float


@dataclass(frozen=True)
class StreamRow:
    """A step model, as the manifest's key `stream` says it, and the window that it takes the place of.

    static   inputs that are no frames
    delay    frames by which an output comes later than its frame
    rate     frames per second, where it was said
    forgets  frames after which it does not matter where the stream began; None: it always does, or nobody knows
    streams  side by side, where FLOPs are counted
    length   frames of the window that `--seq` says; 0 where there is none to compare with
    window   FLOPs of that window; None where they are not known
    frames   of a whole stream, where it ends
    """

    static: tuple[str, ...]
    delay: int
    rate: float | None
    forgets: int | None
    streams: int
    length: int = 0
    window: float | None = None
    frames: int | None = None


@dataclass(frozen=True)
class ParityReport:
    """Everything one parity run established; it holds no times but those of the passes.

    formula    the bound in words; `eps`, `ceiling`, `jitters` are its constants
    passes     of the export, in order
    op_counts  operators by name per stage of the export (`traced`, `exported`)
    flops      useful floating-point operations by operator, as traced and as exported; None where they depend on data
    warnings   what a user of this model has to know
    found      what the passes recognised, such as an attention written in plain torch
    reasons    why the verdict is `fail`
    checks     half precision: the file itself, in float64 and without any runtime
    compression  what became of weights and rings that take fewer bits; None where all are as they were trained
    stream     of a step model: how it begins, what it takes, and what the window would cost
    digest     of the bundle; empty in the report that lies in it, which is hashed before there is one
    """

    declaration: dict[str, Any]
    model: dict[str, Any]
    precision: str
    formula: str
    eps: float
    ceiling: float
    jitters: int
    cases: tuple[CaseRow, ...]
    runtimes: tuple[RuntimeRow, ...]
    verdict: str
    reasons: tuple[str, ...]
    checks: tuple[RuntimeRow, ...] = ()
    passes: tuple[PassRow, ...] = ()
    op_counts: dict[str, dict[str, int]] = field(default_factory=dict)
    flops: dict[str, dict[str, float] | None] = field(default_factory=dict)
    masks: tuple[MaskPicture, ...] = ()
    warnings: tuple[str, ...] = ()
    found: tuple[str, ...] = ()
    compression: Compression | None = None
    stream: StreamRow | None = None
    versions: dict[str, str] = field(default_factory=dict)
    digest: str = ""
    format: int = FORMAT

    @property
    def passed(self) -> bool:
        return self.verdict == PASS

    @property
    def unjudged(self) -> tuple[str, ...]:
        """What a verdict does not cover: engines that are for other machines, each in a sentence."""
        return tuple(row.unjudged for row in self.runtimes if row.unjudged)
