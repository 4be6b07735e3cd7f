"""The float32 functions of an engine against float64 ones, over a million numbers of every size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper
from scipy import special

from temport.exporter.declare.declaration import Axis
from tests.native_engine.engine_of_graphs import OPSET, Small

COUNT = 1 << 20
FUNCTIONS: dict[str, tuple[Callable[[Any], Any], float]] = {
    "Acos": (np.arccos, 4),
    "Acosh": (np.arccosh, 1),
    "Asin": (np.arcsin, 4),
    "Asinh": (np.arcsinh, 1),
    "Atan": (np.arctan, 4),
    "Atanh": (np.arctanh, 1),
    "Ceil": (np.ceil, 0),
    "Cos": (np.cos, 1),
    "Cosh": (np.cosh, 1),
    "Erf": (special.erf, 4),
    "Exp": (np.exp, 2),
    "Floor": (np.floor, 0),
    "Log": (np.log, 2),
    "Mish": (lambda x: np.maximum(x, -90) * np.tanh(np.logaddexp(0, np.maximum(x, -90))), 5),
    "Round": (np.rint, 0),
    "Sigmoid": (special.expit, 20),  # far below 0: its exponent is rounded once more
    "Sin": (np.sin, 1),
    "Sinh": (np.sinh, 1),
    "Softplus": (lambda x: np.logaddexp(0, x), 4),
    "Sqrt": (np.sqrt, 0.5),
    "Tan": (np.tan, 1),
    "Tanh": (np.tanh, 4),
}
"""In float64, and how many units in the last place the float32 one may be off."""
ENDS = (
    0.0,
    -0.0,
    np.inf,
    -np.inf,
    np.nan,
    1.0,
    -1.0,
    0.5,
    -0.5,
    2.5,
    3.5,
    8388609.0,
    -8388607.5,
    3.4e38,
    -3.4e38,
    88.7,
    88.8,
)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Small:
    points = {"points": Axis("points", 1, COUNT, COUNT)}
    kind = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["points"])
        for name in ("x", "y", *FUNCTIONS, "Pow")
    ]
    nodes = [helper.make_node(op, ["x"], [op]) for op in FUNCTIONS]
    nodes.append(helper.make_node("Pow", ["x", "y"], ["Pow"]))
    graph = helper.make_graph(nodes, "functions", kind[:2], kind[2:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    return Small(model, tmp_path_factory.mktemp("functions"), points, "clang++ -O2")


@pytest.fixture(scope="module")
def inputs() -> dict[str, np.ndarray]:
    """Numbers of every exponent, of the usual ones more, near 1, and the ends."""
    rng = np.random.default_rng(0)
    quarter = COUNT // 4
    x = np.concatenate(
        [
            np.exp2(rng.uniform(-126, 128, quarter)) * rng.choice([-1, 1], quarter),
            rng.uniform(-110, 110, quarter),
            1 + rng.standard_normal(quarter) * np.exp2(rng.uniform(-24, 0, quarter)),
            rng.standard_normal(quarter) * 2,
        ]
    ).astype(np.float32)
    x[: len(ENDS)] = ENDS
    y = np.where(
        rng.random(COUNT) < 0.2, rng.integers(-9, 10, COUNT), rng.standard_normal(COUNT) * 20
    ).astype(np.float32)
    y[: 4 * len(ENDS)] = rng.choice(ENDS, 4 * len(ENDS))
    x[len(ENDS) : 8 * len(ENDS)] = rng.choice(ENDS, 7 * len(ENDS))
    return {"x": x, "y": y}


@pytest.fixture(scope="module")
def found(engine: Small, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return engine.run(inputs, {"points": COUNT})


def units(found: np.ndarray, right: np.ndarray, zero: float = 1.01) -> float:
    """The largest error in units in the last place of the right float32; infinite where one is no number, or where only
    one is infinite. What is less than `zero` of the least normal numbers may be 0.
    """
    least = float(np.finfo(np.float32).tiny) * zero
    with np.errstate(all="ignore"):
        narrow = right.astype(np.float32)
        # what rounds to infinity may be the largest number instead, and the other way round
        near = np.abs(right) > 3.4028e38
        strange = ~np.isfinite(narrow) | ~np.isfinite(found)
        if not np.array_equal(narrow[strange & ~near], found[strange & ~near], equal_nan=True):
            return np.inf
        if not np.array_equal(np.sign(right[near]), np.sign(found[near])):
            return np.inf
        usual = ~strange & (np.abs(right) > 2 * least)
        small = ~strange & ~usual
        if (np.abs(found[small].astype(np.float64) - right[small]) > least).any():
            return np.inf
        return float(
            np.max(np.abs(found[usual] - right[usual]) / np.spacing(np.abs(narrow[usual])).astype(np.float64))
        )


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_is_right_to_a_few_units(
    name: str, found: dict[str, np.ndarray], inputs: dict[str, np.ndarray]
) -> None:
    function, most = FUNCTIONS[name]
    with np.errstate(all="ignore"):
        right = function(inputs["x"].astype(np.float64))
    assert (
        units(found[name], right, 128 if name == "Mish" else 1.01) <= most
    )  # of x times a number that is 0 sooner


def test_powers_are_right_and_at_their_ends_as_torch_has_them(
    found: dict[str, np.ndarray], inputs: dict[str, np.ndarray]
) -> None:
    x, y = (torch.from_numpy(inputs[name]).double() for name in ("x", "y"))
    assert units(found["Pow"], torch.pow(x, y).numpy()) <= 1


def test_an_error_of_some_units_and_a_lost_nan_are_seen() -> None:
    right = np.array([1.0, 2.0, np.nan])
    assert units(right.astype(np.float32), right) == 0
    assert 3.9 < units(np.array([1.0, 2.000001, np.nan], np.float32), right) < 4.1
    assert units(np.array([1.0, 2.0, 0.0], np.float32), right) == np.inf
    assert units(np.array([1.0, np.inf, np.nan], np.float32), right) == np.inf
