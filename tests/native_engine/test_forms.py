"""Every native form against ONNX's own evaluator in float64, many nodes in one engine, at several sizes."""

from __future__ import annotations

import pytest

from tests.native_engine import (
    elementwise_cases,
    movement_cases,
    recurrent_layer_cases,
    reduction_cases,
    window_cases,
)
from tests.native_engine.engine_of_graphs import SIZES, Cases

GROUPS = {
    "elementwise": elementwise_cases.CASES,
    "movement": movement_cases.CASES,
    "reductions": reduction_cases.CASES,
    "windows": window_cases.CASES,
    "recurrent": recurrent_layer_cases.CASES,
}


@pytest.fixture(scope="module", params=GROUPS)
def cases(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Cases:
    return Cases(GROUPS[request.param], tmp_path_factory.mktemp(request.param))


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_every_form_gives_what_onnx_says(cases: Cases, sizes: dict[str, int]) -> None:
    assert [line for seed in range(2) for line in cases.wrong(sizes, seed)] == []
