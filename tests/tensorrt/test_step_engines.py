"""Step models (a frame and the state in, the output and the next state out) as engines."""

from __future__ import annotations

from pathlib import Path

import pytest

from temport.exporter.compilers.compile import compile_model
from temport.exporter.errors import UserError
from temport.exporter.streaming.declare import declare_stream
from tests.exporter.streams import export
from tests.small_models import FEW, OPEN, SMALL, STREAMING


@pytest.mark.parametrize(
    ("name", "batch"),
    [
        pytest.param(
            name, batch, marks=pytest.mark.thorough if batch == "1" and name != "sliding_window" else ()
        )
        for name in FEW
        if name in STREAMING
        for batch in ("1", OPEN["batch"])
    ],
)
def test_every_stream_becomes_an_engine(name: str, batch: str, tmp_path: Path) -> None:
    exported = export(name, tmp_path, batch=batch)
    report = compile_model("tensorrt-rtx", exported.path, exported.declaration, tmp_path)
    assert (report.profiles == {}) == (batch == "1")
    counters = {spec.dtype for spec in exported.declaration.inputs} & {"int64"}
    assert ("Int64" in report.precision) == bool(counters)  # a position stays an integer of 64 bits
    assert not any(mask["bytes"] for mask in report.masks)


def test_what_cannot_stream_is_refused() -> None:
    declaration, module = SMALL["dms-masked"].declare(batch="1", seq="20")
    with pytest.raises(UserError, match="frame"):
        declare_stream(declaration, module)
