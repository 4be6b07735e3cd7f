"""Train two classifiers on real motion recordings, export them, and compare every runtime on the test set.

    .venv/bin/python examples/basic_motions.py [--out bundles/basic_motions]

The data are the BasicMotions sequences (UEA archive) that ship inside the `aeon` wheel: four activities recorded
by an accelerometer and a gyroscope on a wrist, 6 channels, 100 steps of 0.1 s, 40 sequences to train on and 40 to
test. `mega` and `sliding_window` below are the factories that `temport export --module` is given.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from safetensors.torch import save_file
from torch import Tensor, nn

from exporter.bundle import open_bundle
from exporter.pipeline import ExportRequest, rebuilt_module, run_export
from exporter.runtimes import RUNTIMES, load
from exporter.subject import Subject
from graphs import build_mega, build_sliding_window

CHANNELS, STEPS, CLASSES = 6, 100, ("standing", "running", "walking", "badminton")
EPOCHS, BATCH, LEARNING_RATE = 40, 8, 1e-3


class MotionClassifier(nn.Module):
    """`state_sequence [batch, 100, 6]` in sensor units -> class scores `[batch, 4]`.

    The training set's mean and deviation per channel are part of the model, so that a device feeds raw readings.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, backbone: nn.Module, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(CHANNELS))
        self.register_buffer("deviation", torch.ones(CHANNELS))
        self.backbone = backbone
        self.head = nn.Linear(width, len(CLASSES))

    def forward(self, state_sequence: Tensor) -> Tensor:
        return self.head(self.backbone((state_sequence - self.mean) / self.deviation))


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
    subject = Subject(bundle.declaration, bundle.model_path, rebuilt_module(bundle))
    found: dict[str, np.ndarray | str] = {}
    for name in RUNTIMES:
        runtime = load(name)
        reason = runtime.unavailable() or runtime.capabilities.refusal(subject.declaration)
        if reason is not None:
            found[name] = reason
            continue
        with runtime.open(subject) as session:
            found[name] = session.run({"state_sequence": x})["output"].argmax(axis=1)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path("bundles/basic_motions"))
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    console = Console()
    x, y = recordings("test")
    np.savez(out / "test.npz", state_sequence=x.numpy())
    results = {}
    for factory in (mega, sliding_window):
        torch.manual_seed(0)
        model = factory()
        assert isinstance(model, MotionClassifier)
        loss = train(model)
        save_file(model.state_dict(), out / f"{factory.__name__}.safetensors")
        passed = run_export(
            ExportRequest(
                module=f"{__file__}:{factory.__name__}",
                shapes=(f"state_sequence=batch,seq,{CHANNELS}",),
                batch="1:8:64",
                seq=str(STEPS),
                weights=out / f"{factory.__name__}.safetensors",
                inputs=(out / "test.npz",),
                out=out / factory.__name__,
            ),
            console,
        )
        results[factory.__name__] = _compare(
            out / factory.__name__, x.numpy(), y.numpy(), loss, passed, console
        )
    (out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    if not all(result["identical"] and result["parity"] for result in results.values()):
        raise SystemExit(1)


def _compare(
    path: Path, x: np.ndarray, y: np.ndarray, loss: float, parity: bool, console: Console
) -> dict[str, object]:
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
        "parity": parity,
    }


if __name__ == "__main__":
    main()
