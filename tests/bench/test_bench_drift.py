"""What `temport bench drift` and `temport bench streams` make of their numbers, without measuring any."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from temport.exporter.bench.drift import Drift, DriftReport
from temport.exporter.bench.drift_chart import chart
from temport.exporter.bench.streams import Result, Row, StreamsReport
from temport.exporter.bench.timing import Timing

FRAMES = [1, 10, 100, 1000]


@pytest.mark.parametrize(
    ("errors", "grows"),
    [([1e-6, 2e-6, 2e-6, 1e-6], False), ([1e-6, 1e-6, 2e-6, 3e-6], True), ([1e-9, 1e-9, 1e-8, 1e-7], False)],
)
def test_an_error_that_grows_is_seen(errors: list[float], grows: bool) -> None:
    drift = Drift("a model", "an engine", FRAMES, {"a stream": errors})
    assert drift.grows("a stream") is grows
    assert DriftReport("here", [drift]).passed is not grows


def test_the_picture_has_a_line_for_every_stream() -> None:
    results = [
        Drift(model, runtime, FRAMES, {"rest": [1e-7] * 4, "noise": [0.0, 1e-7, 1e-7, 1.0]})
        for model in ("one", "other <>")
        for runtime in ("engine", "ONNX Runtime")
    ]
    lines = ET.fromstring(chart(results)).findall(".//{http://www.w3.org/2000/svg}polyline")
    assert len(lines) == 8


def test_a_table_says_what_has_no_time() -> None:
    row = Row("temport, native engine", Timing(1e-5, 9e-6, 2e-5, 8e-6, 5), 512, 1e-7)
    table = StreamsReport("here", [Result("LSTM", 10, (row,), {"tract, pulse": "fails"})]).markdown()
    assert "| LSTM | temport, native engine | 100,000 | 1.00 | 512 | 1.0e-07 |" in table
    assert "| LSTM | tract, pulse | fails | | | |" in table
