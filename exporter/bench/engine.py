"""A native engine against everything else that runs the same model, interleaved in one run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx
import torch

from temport.engine import native_entry
from temport.exporter.bench.contest import Row, contest, largest_difference
from temport.exporter.bench.engine_chart import chart
from temport.exporter.bench.engine_contenders import (
    BASE,
    CONTENDERS,
    OURS,
    TORCH,
    Subjected,
    absent,
)
from temport.exporter.bench.machine import peak_flops, read_bandwidth
from temport.exporter.bench.model_contenders import make_inputs
from temport.exporter.bench.model_stream import TOLERANCE, WINDOW, last_frame, warm, weight_bytes
from temport.exporter.build import build, save
from temport.exporter.compilers.targets import REPORT_FILE, enter
from temport.exporter.declare.architectures import declare
from temport.exporter.errors import UserError, did_you_mean
from temport.exporter.files import write_pair
from temport.exporter.machine import description
from temport.exporter.native.engine import NativeOptions, build_native
from temport.exporter.runtimes import runtime_named
from temport.exporter.runtimes.subject import Subject
from temport.exporter.streaming.declare import declare_stream

_SLIDING = "sliding_window"
NO_STEP = "torch has no step of this model: a stream is made of its graph"


@dataclass(frozen=True)
class Model:
    """What is measured: an architecture with options, as one frame of a stream or a window of `WINDOW` frames."""

    name: str
    arch: str
    settings: tuple[str, ...]
    frame: bool = True


def _sliding(embed: int, heads: int, dim: int, layers: int, ffn: int) -> tuple[str, ...]:
    return (
        f"embed_dim={embed}",
        f"num_heads={heads}",
        f"head_dim={dim}",
        f"num_layers={layers}",
        f"ffn_dim={ffn}",
    )


_SIZES = {
    "8 thousand": _sliding(16, 4, 8, 1, 64),
    "60 thousand": _sliding(24, 4, 16, 2, 128),
    "300 thousand": _sliding(64, 4, 32, 2, 384),
}
MODELS = (
    *(Model(f"frame, sliding_window, {size}", _SLIDING, settings) for size, settings in _SIZES.items()),
    Model(
        "frame, hybrid, 29 thousand",
        "hybrid",
        ("embed_dim=24", "lstm_hidden=64", "num_heads=4", "head_dim=8"),
    ),
    Model("frame, mega, 117 thousand", "mega", ("embed_dim=24", "hidden_size=64", "num_layers=2")),
    Model("frame, mega, 3.6 million", "mega", ()),
    *(
        Model(f"window, sliding_window, {size}", _SLIDING, settings, False)
        for size, settings in _SIZES.items()
    ),
    Model("window, mega, 3.6 million", "mega", (), False),
)


@dataclass(frozen=True)
class Result:
    """Times of one model by every contender, at batch 1 on one thread.

    parameters  of the model
    floor       seconds in which what every run reads of its weights is read once at the measured bandwidth, or that
                its products take at the measured peak of the arithmetic, whichever is longer
    bound       "reads" or "arithmetic", by which of them is the floor
    left_out    contender -> why it has no time
    engine      its entry of engine.json
    """

    model: Model
    parameters: int
    floor: float
    bound: str
    rows: tuple[Row, ...]
    left_out: dict[str, str]
    engine: dict[str, Any]

    def seconds(self, name: str) -> float:
        return next(row.timing.median for row in self.rows if row.name == name)


@dataclass
class EngineReport:
    """All of one run."""

    machine: str
    results: list[Result]

    def write(self, folder: Path) -> None:
        write_pair(folder, "bench-engine", asdict(self), chart(self.results))


def run(
    models: Sequence[Model] = MODELS,
    *,
    seconds: float,
    contenders: Sequence[str] = (),
    progress: Callable[[str], None],
    after: Callable[[EngineReport, Result], None],
) -> EngineReport:
    """Measure every model; `contenders` beside ours and ONNX Runtime with our kernels, all where none are named."""
    if unknown := next((name for name in contenders if name not in CONTENDERS), None):
        raise UserError(f"unknown contender {unknown!r}; {did_you_mean(unknown, CONTENDERS)}")
    names = [n for n in CONTENDERS if not contenders or n in (OURS, BASE) or n in contenders]
    report = EngineReport(description(), [])
    for model in models:
        progress(f"{model.name} parameters")
        with TemporaryDirectory(prefix="temport-bench-") as work:
            result = _measure(model, Path(work), names, seconds)
        report.results.append(result)
        after(report, result)
    return report


def _measure(model: Model, work: Path, names: Sequence[str], seconds: float) -> Result:
    subject, flops = _subject(model, work / "model")
    truth = subject.truth
    rows, left_out = contest(
        names,
        (OURS, BASE),
        absent=lambda name: NO_STEP if model.frame and name in TORCH else absent(name),
        prepare=lambda name: CONTENDERS[name](subject),
        error=lambda output: largest_difference(output.reshape(truth.shape), truth),
        allowed=TOLERANCE,
        seconds=seconds,
    )
    read = weight_bytes(onnx.load(subject.file))
    floors = {"reads": read / read_bandwidth(read, 1), "arithmetic": flops / peak_flops()}
    bound = max(floors, key=floors.__getitem__)
    return Result(
        model,
        sum(p.numel() for p in subject.module.parameters()),
        floors[bound],
        bound,
        tuple(rows),
        left_out,
        native_entry(subject.bundle),
    )


def _subject(model: Model, folder: Path) -> tuple[Subjected, float]:
    """The exported model with its engine, warm, and what float64 says of that input; its floating-point operations."""
    folder.mkdir()
    declaration, module, _ = declare(model.arch, model.settings, seq=str(WINDOW))
    if model.frame:
        declaration = declare_stream(declaration, module)
    built = build(module, declaration)
    save(built, folder / "model.onnx", external_data=False)
    report = build_native(folder, "bench", declaration, NativeOptions())
    enter(folder / REPORT_FILE, report.to_json())
    flops = sum((built.flops["exported"] or {}).values())
    if model.frame:
        opened: Any = runtime_named("onnxruntime_cpu").open(Subject(declaration, folder / "model.onnx"), 1)
        feed, frames = warm(declaration, opened.run)
        truth = last_frame(module, declaration, frames)
    else:
        feed = make_inputs(declaration)
        with torch.no_grad():
            truth = module.double()(*(torch.from_numpy(array).double() for array in feed.values())).numpy()
    return Subjected(declaration, folder, feed, module.float().eval(), truth), flops
