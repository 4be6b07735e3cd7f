"""`temport bench rings`: both kinds of rings in both runtimes, right, and of the bytes that they have."""

from __future__ import annotations

import pytest

from temport.exporter.bench.rings import run
from temport.exporter.bench.tables import Output

SMALL = ("embed_dim=8", "window_size=5", "num_heads=2", "head_dim=8", "num_layers=1", "ffn_dim=16")


@pytest.mark.thorough
def test_rows() -> None:
    rows = run("sliding_window", SMALL, 60, 0.01, Output())
    assert [row.rings for row in rows] == ["float32", "fp16"] * 2
    assert all(row.error < 1e-3 and row.timing.median > 0 for row in rows)
    by_kind = {row.rings: row.bytes for row in rows if row.where.startswith("ONNX")}
    assert by_kind == {"float32": 2 * 5 * 16 * 4 + 8, "fp16": 2 * 5 * 16 * 2 + 8}
