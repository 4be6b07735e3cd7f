"""Train classifiers on real recordings, store their weights in fewer bits, and count the recordings that change class.

    .venv/bin/python examples/compressed_weights.py [--out bundles/compressed]

Two data sets of the UEA archive that ship inside the `aeon` wheel: BasicMotions (activities by a wrist sensor, 40 test
recordings of 100 frames, as in `basic_motions.py`) and JapaneseVowels (nine speakers, 370 test recordings of 7 to 29
frames, as in `streams/speakers.py`). Every model is exported as a stream, with its weights as they are, in fp16, int8
and int4, and runs frame by frame in ONNX Runtime with our kernels: the class of a recording is that of its last frame.
Then all test recordings run as one stream, one behind the other, which shows whether the change of the scores grows.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import basic_motions
import numpy as np
import torch
from basic_motions import MotionClassifier
from rich.console import Console
from safetensors.torch import save_file
from torch import Tensor, nn

from temport.exporter.bundle.directory import open_bundle
from temport.exporter.declare.loading import load_factory
from temport.exporter.export import run_export
from temport.exporter.parity.stream import Streamed
from temport.exporter.request import ExportRequest
from temport.exporter.runtimes import runtime_named
from temport.exporter.runtimes.subject import Subject
from temport.graphs import build_hybrid, build_hybrid_mlp, build_lightning, build_mega

SPEAKERS = f"{Path(__file__).parent}/streams/speakers.py"
KINDS = (None, "fp16", "int8", "int4")
QUARTERS = 4
WIDTH = 64


class VoiceClassifier(nn.Module):
    """`frames [batch, seq, 12]` -> scores `[batch, seq, 9]` of the speakers, by what was heard so far."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, backbone: Any) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(12))
        self.register_buffer("deviation", torch.ones(12))
        self.backbone = backbone
        self.head = nn.Linear(WIDTH, 9)

    def forward(self, frames: Tensor) -> Tensor:
        hidden = self.backbone.forward_sequence((frames - self.mean) / self.deviation)
        scores: Tensor = self.head(hidden)
        return scores


def motions_hybrid() -> nn.Module:
    return MotionClassifier(
        build_hybrid(embed_dim=6, lstm_hidden=WIDTH, num_heads=2, head_dim=32, seq_len=basic_motions.STEPS),
        WIDTH,
    )


def motions_hybrid_mlp() -> nn.Module:
    backbone = build_hybrid_mlp(
        embed_dim=6,
        lstm_hidden=WIDTH,
        num_heads=2,
        head_dim=32,
        seq_len=basic_motions.STEPS,
        mlp_sizes=(WIDTH, WIDTH),
    )
    return MotionClassifier(backbone, WIDTH)


def motions_lightning() -> nn.Module:
    backbone = build_lightning(
        embed_dim=6, hidden_size=WIDTH, num_heads=2, num_layers=2, block_size=16, feature_map="elu1"
    )
    return MotionClassifier(backbone, WIDTH)


def voices_hybrid() -> nn.Module:
    return VoiceClassifier(
        build_hybrid(embed_dim=12, lstm_hidden=WIDTH, num_heads=2, head_dim=32, seq_len=29)
    )


def voices_mega() -> nn.Module:
    return VoiceClassifier(build_mega(embed_dim=12, hidden_size=WIDTH, num_layers=2, seq_len=29))


@dataclass(frozen=True)
class Recordings:
    """Sequences `[n, frames, channels]`, how many frames each has and its class; what makes a model know them."""

    frames: np.ndarray
    lengths: np.ndarray
    classes: np.ndarray
    train: Callable[[Any], object]


def motions() -> Recordings:
    x, y = basic_motions.recordings("test")
    return Recordings(x.numpy(), np.full(len(x), x.shape[1]), y.numpy(), basic_motions.train)


def voices() -> Recordings:
    x, lengths, y = load_factory(f"{SPEAKERS}:voices")("test")
    return Recordings(x.numpy(), lengths.numpy(), y.numpy(), load_factory(f"{SPEAKERS}:train"))


@dataclass(frozen=True)
class Model:
    """`source` is the factory as `--module` takes it."""

    source: str
    data: Callable[[], Recordings]
    make: Callable[[], nn.Module]


MODELS = {
    "BasicMotions, mega": Model(f"{basic_motions.__file__}:mega", motions, basic_motions.mega),
    "BasicMotions, sliding_window": Model(
        f"{basic_motions.__file__}:sliding_window", motions, basic_motions.sliding_window
    ),
    **{
        f"{name}, {make.__name__.partition('_')[2]}": Model(f"{__file__}:{make.__name__}", data, make)
        for name, data, makes in (
            ("BasicMotions", motions, (motions_hybrid, motions_hybrid_mlp, motions_lightning)),
            ("JapaneseVowels", voices, (voices_hybrid, voices_mega)),
        )
        for make in makes
    },
}


@dataclass(frozen=True)
class Row:
    """A trained model with its weights in one type, against itself with its weights as they are.

    bytes     of the model's file
    right     recordings whose class is the right one, of `recordings`
    changed   recordings that have another class
    largest   the largest change of a score of a recording, as a share of the largest score
    quarters  the same over all recordings as one stream, in each quarter of it
    parity    whether the runtime computes what the file says
    """

    model: str
    kind: str
    bytes: int
    recordings: int
    right: int
    changed: int
    largest: float
    quarters: tuple[float, ...]
    parity: bool


def scores(bundle_path: Path, frames: np.ndarray) -> np.ndarray:
    """`[n, frames, classes]`, frame by frame in ONNX Runtime with our kernels."""
    bundle = open_bundle(bundle_path)
    subject = Subject(bundle.declaration, bundle.model_path)
    with Streamed(runtime_named("onnxruntime_native")).open(subject) as session:
        (found,) = session.run({bundle.declaration.inputs[0].name: frames}).values()
    return found


def exported(model: Model, weights: Path, kind: str | None, out: Path, data: Recordings) -> bool:
    """Whether the step model with its weights in this type passed its gate."""
    inputs = "state_sequence" if data.train is basic_motions.train else "frames"
    asked = ExportRequest(
        module=model.source,
        shapes=(f"{inputs}=batch,seq,{data.frames.shape[2]}",),
        seq=str(data.frames.shape[1]),
        batch=f"1:1:{len(data.frames)}",
        weights=weights,
        streaming=True,
        weights_dtype=kind,
        runtimes=("onnxruntime_native",),
        out=out,
    )
    return run_export(asked, Console(quiet=True)).passed


def rows_of(name: str, model: Model, out: Path) -> list[Row]:
    """Trained once; one row per type."""
    torch.manual_seed(0)
    data, module = model.data(), model.make()
    data.train(module)
    weights = out / f"{name.replace(', ', '-')}.safetensors"
    save_file(module.state_dict(), weights)
    whole = np.concatenate([row[:n] for row, n in zip(data.frames, data.lengths, strict=True)])[None]
    last = (np.arange(len(data.frames)), data.lengths - 1)
    rows: list[Row] = []
    for kind in KINDS:
        bundle = out / f"{weights.stem}-{kind or 'fp32'}"
        parity = exported(model, weights, kind, bundle, data)
        found, stream = scores(bundle, data.frames)[last], scores(bundle, whole)
        if kind is None:
            before, stream_before = found, stream
        parts = np.array_split(np.abs(stream - stream_before), QUARTERS, axis=1)
        rows.append(
            Row(
                name,
                kind or "fp32",
                (bundle / "model.onnx").stat().st_size,
                len(found),
                int((found.argmax(-1) == data.classes).sum()),
                int((found.argmax(-1) != before.argmax(-1)).sum()),
                float(np.abs(found - before).max() / np.abs(before).max()),
                tuple(float(part.max() / np.abs(stream_before).max()) for part in parts),
                parity,
            )
        )
    return rows


def line(row: Row) -> str:
    quarters = ", ".join(f"{share:.0e}" for share in row.quarters)
    return (
        f"| {row.model} | {row.kind} | {row.bytes / 1e3:.0f} | {row.right} of {row.recordings} | {row.changed} | "
        f"{row.largest:.0e} | {quarters} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path("bundles/compressed"))
    parser.add_argument("--model", choices=MODELS, action="append", help="repeatable; default: all")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    say = partial(print, flush=True)
    say("| model | weights | file, kB | right | another class | largest change | by quarter of one stream |")
    say("|---|---|---|---|---|---|---|")
    for name in asked.model or MODELS:
        for row in rows_of(name, MODELS[name], asked.out):
            rows.append(row)
            say(line(row))
        (asked.out / "results.json").write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    if not all(row.parity for row in rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
