"""Train an LSTM policy and a causal-convolution classifier, export both as streams, and run them frame by frame in
C++ on recordings that no training has seen.

    .venv/bin/python examples/streams/compare.py [--out bundles/streams]

Neither module knows of streams: `hand_policy.py` is a torch LSTM with a static goal, `speakers.py` torch convolutions
padded on the left and a mean of all frames so far. Prints, for each runtime, how far its frames are from the module in
float64 over whole recordings, and how good they are. Exit code 1 where a parity gate fails or no C++ ran.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from types import ModuleType
from typing import TypedDict

import hand_policy
import numpy as np
import speakers
import torch
from rich.console import Console
from rich.table import Table
from safetensors.torch import save_file
from torch import nn

from temport.exporter.bundle.directory import open_bundle
from temport.exporter.export import run_export
from temport.exporter.parity.stream import Streamed
from temport.exporter.request import ExportRequest
from temport.exporter.runtimes import runtime_named
from temport.exporter.runtimes.subject import Subject

RUNTIMES = ("cpp", "native_engine", "onnxruntime_native", "onnxruntime_cpu")
IN_CPP = ("cpp", "native_engine")


class Compared(TypedDict):
    """Whether the stream passed its gate, the largest difference of each runtime, and how good the module is."""

    parity: bool
    differences: dict[str, float]
    quality: str


def exported(example: ModuleType, out: Path, console: Console) -> tuple[nn.Module, bool]:
    """The trained module in float64, and whether the stream passed its gate."""
    torch.manual_seed(0)
    model = example.make()
    example.train(model)
    name = example.__name__
    weights = out / f"{name}.safetensors"
    save_file(model.state_dict(), weights)
    asked = ExportRequest(
        module=f"{example.__file__}:make",
        shapes=example.SHAPES,
        batch="1:1:512",
        weights=weights,
        streaming=True,
        target="native",
        runtimes=RUNTIMES,
        out=out / name,
    )
    return model.double(), run_export(asked, console).passed


def frame_by_frame(bundle_path: Path, inputs: dict[str, np.ndarray], runtime: str) -> np.ndarray | str:
    """The output at every frame, or why the runtime did not run."""
    bundle, streamed = open_bundle(bundle_path), Streamed(runtime_named(runtime))
    if reason := streamed.unavailable():
        return reason
    with streamed.open(Subject(bundle.declaration, bundle.model_path)) as session:
        (output,) = session.run(inputs).values()
    return output


def compared(example: ModuleType, out: Path, console: Console) -> Compared:
    model, passed = exported(example, out, console)
    recordings: dict[str, np.ndarray] = example.recordings()
    frames = max(x.shape[1] for x in recordings.values() if x.ndim == 3)
    # a static input is given with every frame
    inputs = {n: x if x.ndim == 3 else np.repeat(x[:, None], frames, axis=1) for n, x in recordings.items()}
    with torch.no_grad():
        truth = model(*(torch.from_numpy(x).double() for x in recordings.values())).numpy()
    table = Table("runtime", "largest difference", "over the test recordings", title=example.__name__)
    differences: dict[str, float] = {}
    for runtime in RUNTIMES:
        found = frame_by_frame(out / example.__name__, inputs, runtime)
        if isinstance(found, str):
            table.add_row(runtime, "not run", found)
            continue
        differences[runtime] = float(np.abs(found - truth).max() / np.abs(truth).max())
        table.add_row(runtime, f"{differences[runtime]:.1e} of the largest value", example.quality(found))
    console.print(table)
    return {"parity": passed, "differences": differences, "quality": example.quality(truth)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path("bundles/streams"))
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    console = Console()
    results = {example.__name__: compared(example, out, console) for example in (hand_policy, speakers)}
    (out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    ran = all(set(IN_CPP) & set(result["differences"]) for result in results.values())
    if not ran or not all(result["parity"] for result in results.values()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
