"""Two small bundles for the whole room: one of windows, one of frames."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from temport.exporter.export import run_export
from temport.exporter.parity.result import NOT_RUN, PASS
from temport.exporter.request import ExportRequest
from temport.exporter.scorecard.card import Row, Scorecard, Speed

SMALL = ("embed_dim=6", "hidden_size=8", "num_layers=1")


@pytest.fixture(scope="session")
def window(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shared, so do not write into it; its report has a row that passes and one that was not run."""
    return _exported(tmp_path_factory.mktemp("window") / "bundle")


@pytest.fixture(scope="session")
def step(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _exported(tmp_path_factory.mktemp("step") / "bundle", streaming=True)


def _exported(out: Path, **asked: object) -> Path:
    runtimes = ("onnxruntime_cpu", "tensorrt")
    request = ExportRequest("mega", seq="9", settings=SMALL, runtimes=runtimes, out=out, **asked)  # type: ignore[arg-type]
    run_export(request, Console(quiet=True))
    return out


@pytest.fixture
def card() -> Scorecard:
    """Of no bundle: two rows with times, one without."""
    rows = (
        Row("fast", PASS, share=0.2, speed=Speed.of([1e-3] * 2000), libraries=1 << 20, model=4096),
        Row("slow", PASS, share=0.9, speed=Speed.of([4e-3, 5e-3]), load=0.1),
        Row("absent", NOT_RUN, "it is not <here>"),
    )
    return Scorecard(
        "bundle",
        "0" * 64,
        "frame",
        "float32",
        {"frame": "float32 [1, 6]"},
        64,
        PASS,
        (),
        "a machine",
        {"temport": "0.1.0"},
        1.7e9,
        rows,
    )
