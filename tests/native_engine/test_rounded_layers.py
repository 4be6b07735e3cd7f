"""Layers of an engine that round what they take to int8, in every type of weights, against the definition."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from temport.custom_ops.domain import DOMAIN, VERSION
from temport.custom_ops.fused_dense import OP
from temport.exporter.native.isa import ISAS
from tests.native_engine.engine_of_graphs import OPSET, SIZES, Small

INPUTS = [parameter.name for parameter in OP.schema.inputs]


def integers(largest: int, kind: Any, *shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).integers(-largest, largest + 1, shape).astype(kind)


def floats(*shape: int, kind: Any = np.float32) -> np.ndarray:
    return (np.random.default_rng(sum(shape)).random(shape) / 50 + 0.01).astype(kind)


LAYERS: dict[str, dict[str, Any]] = {
    "int8": {"W": integers(127, np.int8, 37, 21), "W_scale": floats(21), "activation": "silu"},
    "shared": {"W": integers(127, np.int8, 512, 70), "W_scale": floats(70)},
    "groups": {"W": integers(127, np.int8, 3, 9, 21), "W_scale": floats(3, 1, 21), "groups": 3},
    "float16": {"W": floats(37, 21, kind=np.float16)},
    "int4": {"W": integers(7, ml_dtypes.int4, 64, 21), "W_scale": floats(4, 21)},
    "turned": {"W": integers(127, np.int8, 16, 21), "W_scale": floats(16, 1)},
    "tiny": {
        "W": integers(127, np.int8, 16, 21),
        "W_scale": floats(21) * np.float32(1e-20),
        "X_scale": 1e-20,
    },
}


def layer(name: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Constants, and attributes."""
    given = {"X_scale": 0.03} | LAYERS[name]
    attributes = {key: given.pop(key, default) for key, default in (("activation", "none"), ("groups", 1))}
    outputs = attributes["groups"] * given["W"].shape[-1]
    bias = floats(outputs) * np.float32(given["X_scale"])
    return given | {"X_scale": np.float32(given["X_scale"]), "B": bias}, attributes


def model() -> onnx.ModelProto:
    nodes, inputs, outputs, constants = [], [], [], []
    for name in LAYERS:
        given, attributes = layer(name)
        width = attributes["groups"] * given["W"].shape[-2]
        inputs.append(helper.make_tensor_value_info(f"{name}_x", TensorProto.FLOAT, ["n", width]))
        outputs.append(helper.make_tensor_value_info(f"{name}_y", TensorProto.FLOAT, ["n", len(given["B"])]))
        constants += [ir.to_proto(ir.tensor(np.asarray(x), name=f"{name}_{n}")) for n, x in given.items()]
        names = [f"{name}_x" if n == "X" else f"{name}_{n}" if n in given else "" for n in INPUTS]
        nodes.append(helper.make_node(OP.name, names, [f"{name}_y"], name, domain=DOMAIN, **attributes))
    graph = helper.make_graph(nodes, "layers", inputs, outputs, constants)
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, VERSION)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def drawn(rows: int) -> dict[str, np.ndarray]:
    """No number is next to a border between two integers; many are clipped, and the last row has NaN."""
    inputs = {}
    for name in LAYERS:
        given, attributes = layer(name)
        rng = np.random.default_rng(rows)
        steps = rng.integers(-150, 150, (rows, attributes["groups"] * given["W"].shape[-2])) + 0.3
        steps[0, 0] = np.inf
        if rows > 1:
            steps[-1, 1] = np.nan
        inputs[f"{name}_x"] = (steps * given["X_scale"]).astype(np.float32)
    return inputs


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return Small(model(), tmp_path_factory.mktemp("rounded"))


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_a_layer_is_the_definition(engine: Small, sizes: dict[str, int]) -> None:
    inputs = drawn(sizes["n"])
    found = engine.run(inputs, sizes)
    for name in LAYERS:
        given, attributes = layer(name)
        x = inputs[f"{name}_x"]
        right = OP.reference([{"X": x, **given}.get(n) for n in INPUTS], attributes)
        y, spoilt = found[f"{name}_y"], np.isnan(right)
        assert spoilt.any() == (sizes["n"] > 1) and np.array_equal(np.isnan(y), spoilt), name
        largest = np.abs(right[~spoilt]).max()
        np.testing.assert_allclose(y[~spoilt], right[~spoilt], rtol=0, atol=3e-6 * largest, err_msg=name)


@pytest.mark.parametrize(
    ("isa", "threads"),
    [
        ("avx2vnni", 3),
        ("avx512vnni", 1),
        *(pytest.param(isa, 1, marks=pytest.mark.thorough) for isa in ("avx2", "avx512")),
    ],
)
def test_the_same_bits(engine: Small, isa: str, threads: int, tmp_path: Path) -> None:
    if not ISAS[isa].runs_here():
        pytest.skip(f"this processor has no {isa}")
    other = Small(model(), tmp_path, isa=isa, threads=threads)
    for sizes in SIZES:
        inputs = drawn(sizes["n"])
        found, again = engine.run(inputs, sizes), other.run(inputs, sizes)
        assert all(np.array_equal(found[name], again[name], equal_nan=True) for name in found)
