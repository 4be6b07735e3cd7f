"""Step models (a frame and the state in, the output and the next state out) as engines."""

from __future__ import annotations

from pathlib import Path

import pytest

from temport.exporter.build import save
from temport.exporter.compilers.compile import compile_model
from temport.exporter.declare.architectures import declare
from temport.exporter.errors import UserError
from temport.exporter.streaming.declare import declare_stream
from tests.tensorrt.test_precision import SETTINGS
from tests.traces import build


@pytest.mark.parametrize(
    ("arch", "batch"),
    [
        pytest.param(
            name, batch, marks=pytest.mark.thorough if batch == "1" and name != "sliding_window" else ()
        )
        for name in SETTINGS
        if name != "dms"
        for batch in ("1", "1:2:8")
    ],
)
def test_every_stream_becomes_an_engine(arch: str, batch: str, tmp_path: Path) -> None:
    declaration, module, _ = declare(arch, SETTINGS[arch], batch=batch, seq="20")
    declaration = declare_stream(declaration, module)
    save(build(module, declaration), tmp_path / "model.onnx", external_data=False)
    report = compile_model("tensorrt-rtx", tmp_path / "model.onnx", declaration, tmp_path)
    assert (report.profiles == {}) == (batch == "1")
    counters = {spec.dtype for spec in declaration.inputs} & {"int64"}
    assert ("Int64" in report.precision) == bool(counters)  # a position stays an integer of 64 bits
    assert not any(mask["bytes"] for mask in report.masks)


def test_what_cannot_stream_is_refused() -> None:
    declaration, module, _ = declare("dms", SETTINGS["dms"], batch="1", seq="20")
    with pytest.raises(UserError, match="frame"):
        declare_stream(declaration, module)
