"""Train two classifiers on real motion recordings, export them for whole recordings and for a live stream, and compare
every runtime on the test set.

    .venv/bin/python examples/basic_motions.py [--out bundles/basic_motions]

The data are the BasicMotions sequences (UEA archive) that ship inside the `aeon` wheel: four activities recorded
by an accelerometer and a gyroscope on a wrist, 6 channels, 100 steps of 0.1 s, 40 sequences to train on and 40 to
test. `mega` and `sliding_window` below are the factories that `temport export --module` is given.

The models learn the activity of a whole recording, from its last frame. The step models `mega-stream` and
`sliding_window-stream` give a class at every frame: the activity of the stream up to that frame. At frame 99 that is
the class of the recording, by the same numbers; before it, the model has seen less than it was trained on; after it,
attention goes on with its window (`mega`: the last 100 frames) and the moving averages with all that came before.
`recording.csv` is one test recording for `deploy/cpp/examples/stream` to read.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from safetensors.torch import save_file
from torch import Tensor, nn

from temport.exporter.bundle.directory import open_bundle
from temport.exporter.export import run_export
from temport.exporter.parity.stream import Streamed
from temport.exporter.recheck import rebuilt_module
from temport.exporter.request import ExportRequest
from temport.exporter.runtimes import RUNTIMES, runtime_named
from temport.exporter.runtimes.subject import Subject
from temport.graphs import build_mega, build_sliding_window

CHANNELS, STEPS, CLASSES = 6, 100, ("standing", "running", "walking", "badminton")
COLUMNS = (
    "accelerometer_x",
    "accelerometer_y",
    "accelerometer_z",
    "gyroscope_x",
    "gyroscope_y",
    "gyroscope_z",
)
STREAMED_IN = ("torch_float32", "onnxruntime_cpu", "onnxruntime_native", "cpp", "openvino")
"""Runtimes that take the thousands of frames of a stream's parity in seconds."""
EPOCHS, BATCH, LEARNING_RATE = 40, 8, 1e-3


class MotionClassifier(nn.Module):
    """`state_sequence [batch, 100, 6]` in sensor units -> class scores `[batch, 4]`.

    The training set's mean and deviation per channel are part of the model, so that a device feeds raw readings.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, backbone: Any, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(CHANNELS))
        self.register_buffer("deviation", torch.ones(CHANNELS))
        self.backbone = backbone
        self.head = nn.Linear(width, len(CLASSES))

    def forward(self, state_sequence: Tensor) -> Tensor:
        return self.head(self.backbone(self._normal(state_sequence)))

    def forward_sequence(self, state_sequence: Tensor) -> Tensor:
        """Scores at every frame `[batch, frames, 4]`."""
        return self.head(self.backbone.forward_sequence(self._normal(state_sequence)))

    def _normal(self, state_sequence: Tensor) -> Tensor:
        return (state_sequence - self.mean) / self.deviation


def mega() -> nn.Module:
    """Two Mega blocks of width 64."""
    return MotionClassifier(build_mega(embed_dim=CHANNELS, hidden_size=64, num_layers=2, seq_len=STEPS), 64)


def sliding_window() -> nn.Module:
    """Two layers whose frames see 25 frames (2.5 s): the window is shorter than the sequence."""
    backbone = build_sliding_window(
        embed_dim=CHANNELS, window_size=25, seq_len=STEPS, num_heads=4, head_dim=16, num_layers=2, ffn_dim=128
    )
    return MotionClassifier(backbone, 64)


def recordings(split: str) -> tuple[Tensor, Tensor]:
    """Sequences `[40, 100, 6]` float32 and class indices `[40]`."""
    from aeon.datasets import load_basic_motions

    x, y = load_basic_motions(split=split)
    labels = [CLASSES.index(str(label).lower()) for label in y]
    return torch.from_numpy(x.transpose(0, 2, 1).astype(np.float32)), torch.tensor(labels)


def train(model: MotionClassifier, seed: int = 0) -> float:
    """Fit to the training split; returns the last epoch's mean loss."""
    torch.manual_seed(seed)
    x, y = recordings("train")
    model.mean.copy_(x.mean(dim=(0, 1)))
    model.deviation.copy_(x.std(dim=(0, 1)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    loss = torch.tensor(0.0)
    model.train()
    for _ in range(EPOCHS):
        losses = []
        for rows in torch.randperm(len(x)).split(BATCH):
            loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        loss = torch.stack(losses).mean()
    model.eval()
    return float(loss)


def predictions(bundle_path: Path, x: np.ndarray) -> dict[str, np.ndarray | str]:
    """Class indices of every runtime over `x`, or the reason why it was not run."""
    bundle = open_bundle(bundle_path)
    subject = Subject(
        bundle.declaration, bundle.model_path, rebuilt_module(bundle, bundle.declaration.module)
    )
    found: dict[str, np.ndarray | str] = {}
    for name in RUNTIMES:
        runtime = runtime_named(name)
        reason = runtime.unavailable() or runtime.capabilities.refusal(subject.declaration)
        if reason is not None:
            found[name] = reason
            continue
        with runtime.open(subject) as session:
            found[name] = session.run({"state_sequence": x})["output"].argmax(axis=1)
    return found


def request(factory: Callable[[], nn.Module], folder: Path, **changes: Any) -> ExportRequest:
    """The export of a trained model: its weights lie in `folder`."""
    return ExportRequest(
        module=f"{__file__}:{factory.__name__}",
        shapes=(f"state_sequence=batch,seq,{CHANNELS}",),
        seq=str(STEPS),
        weights=folder / f"{factory.__name__}.safetensors",
        **changes,
    )


def classes_by_frame(bundle_path: Path, x: np.ndarray) -> np.ndarray:
    """Class indices `[batch, frames]` of streams `x [batch, frames, 6]`, frame by frame in ONNX Runtime."""
    bundle = open_bundle(bundle_path)
    with Streamed(runtime_named("onnxruntime_cpu")).open(
        Subject(bundle.declaration, bundle.model_path)
    ) as session:
        return session.run({"state_sequence": x})["output"].argmax(axis=2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path("bundles/basic_motions"))
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    console = Console()
    x, y = recordings("test")
    np.savez(out / "test.npz", state_sequence=x.numpy())
    np.savetxt(out / "recording.csv", x[0].numpy(), "%.9g", ",", header=",".join(COLUMNS), comments="")
    results = {}
    for factory in (mega, sliding_window):
        torch.manual_seed(0)
        model = factory()
        assert isinstance(model, MotionClassifier)
        loss = train(model)
        save_file(model.state_dict(), out / f"{factory.__name__}.safetensors")
        window, stream = out / factory.__name__, out / f"{factory.__name__}-stream"
        exports = (
            request(factory, out, batch="1:8:64", inputs=(out / "test.npz",), out=window),
            request(factory, out, batch="1:1:64", streaming=True, runtimes=STREAMED_IN, out=stream),
        )
        parity, stream_parity = (run_export(export, console).passed for export in exports)
        results[window.name] = _compare(window, x.numpy(), y.numpy(), loss, console) | {"parity": parity}
        found = _by_frame(stream, x.numpy(), y.numpy(), console)
        results[stream.name] = found | {"parity": stream_parity}
    (out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    if not all(result["parity"] and result.get("identical", True) for result in results.values()):
        raise SystemExit(1)


def _by_frame(path: Path, x: np.ndarray, y: np.ndarray, console: Console) -> dict[str, object]:
    """How often the class of the stream so far is the right one, after some of its frames."""
    found = classes_by_frame(path, x)
    accuracy = {frames: float(np.mean(found[:, frames - 1] == y)) for frames in (10, 25, 50, 75, STEPS)}
    console.print(f"{path.name}, accuracy after so many frames: {accuracy}")
    return {"accuracy_after_frames": accuracy}


def _compare(path: Path, x: np.ndarray, y: np.ndarray, loss: float, console: Console) -> dict[str, object]:
    """Accuracy in every runtime, and whether all of them give every sequence the same class."""
    found = predictions(path, x)
    classes = {name: p for name, p in found.items() if not isinstance(p, str)}
    truth = classes["torch_float32"]
    table = Table("runtime", "accuracy", "same classes as torch", title=f"{path.name}, 40 test sequences")
    for name, p in found.items():
        if isinstance(p, str):
            table.add_row(name, "not run", p)
        else:
            table.add_row(name, f"{np.mean(p == y):.3f}", f"{int((p == truth).sum())} of {len(y)}")
    console.print(table)
    return {
        "training_loss": loss,
        "accuracy": {name: float(np.mean(p == y)) for name, p in classes.items()},
        "identical": all(bool((p == truth).all()) for p in classes.values()),
        "not_run": {name: p for name, p in found.items() if isinstance(p, str)},
    }


if __name__ == "__main__":
    main()
