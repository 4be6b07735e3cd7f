"""What is particular to the ops that stand for layers: ends of functions, rows that do not meet, lives of weights."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from case import EPS, Case, error
from cases import TABLES
from cases.fused_dense import ACTIVATIONS
from cases.fused_dense import case as dense
from cases.moving_average import case as average
from cases.residual_layer_norm import case as layer_norm
from one_node import body_model, model, native, session, session_options

from temport.custom_ops.library import get_library_path


@pytest.mark.parametrize("activation", ["gelu", "sigmoid", "silu"])
def test_activations_far_and_near(activation: str) -> None:
    """A layer that passes its input on: both ends, around 0, and where an approximation changes its form."""
    table, ends = TABLES["FusedDense"], [-3e38, -1e4, -90, -88, 88, 90, 1e4, 3e38, 1e-30, -1e-30, 0.0]
    x = np.concatenate([np.linspace(-12, 12, 4001), ends, [np.inf, np.nan]]).astype(np.float32)[:, None]
    attributes, passes = (
        {"activation": activation, "groups": 1},
        {"W": np.ones((1, 1), np.float32), "B": np.zeros(1, np.float32)},
    )
    y = native(table, Case({"X": x, **passes}, attributes))["Y"]
    finite = np.isfinite(x)
    truth = table.truth(Case({"X": np.where(finite, x, 0), **passes}, attributes))["Y"]
    peer = np.abs(ACTIVATIONS[activation](torch.from_numpy(x)).numpy() - truth)
    allowed = 2 * peer[finite] + 4 * EPS["float32"] * np.maximum(np.abs(truth[finite]), 1e-2)
    assert (np.abs(y[finite] - truth[finite]) <= allowed).all()
    assert y[-2] == 1.0 if activation == "sigmoid" else not np.isfinite(y[-2])
    assert np.isnan(y[-1])


@pytest.mark.parametrize(
    "value", [0.0, 1e-30, 1e-3, 0.249, 0.251, 3.0, 30.0, 1e4, np.inf, -1e-3, -2.0, -1e4, -np.inf]
)
def test_gates_far_and_near(value: float) -> None:
    """One unit whose gates all see `value`: sigmoid and tanh at both ends, around 0 and where tanh changes its form."""
    got = native(TABLES["FusedLSTM"], one_unit(np.float32(value)))
    gate = 0.5 * (1 + np.tanh(0.5 * float(value)))
    c = gate * np.tanh(float(value))
    eps, tiny = EPS["float32"], np.finfo(np.float32).tiny
    np.testing.assert_allclose(got["Y_c"].item(), c, rtol=4 * eps, atol=tiny)
    np.testing.assert_allclose(got["Y"].item(), gate * np.tanh(c), rtol=8 * eps, atol=tiny)


@pytest.mark.parametrize("op", ["FusedLSTM", "FusedGRU"])
@pytest.mark.parametrize("bits", [0x7FC00000, 0x7FC00001, 0xFFC001FF])
def test_a_gate_that_is_not_a_number_stays_so(op: str, bits: int) -> None:
    case = one_unit(np.array(bits, np.uint32).view(np.float32)[()], 4 if op == "FusedLSTM" else 3)
    assert np.isnan(native(TABLES[op], case)["Y"]).all()


def one_unit(x: np.float32, gates: int = 4) -> Case:
    w = np.ones((1, gates, 1), np.float32)
    return Case({"X": np.full((1, 1, 1), x), "W": w, "R": 0 * w}, {"hidden_size": 1})


@pytest.mark.parametrize(
    "value", [0.0, 1e-3, 0.249, 3.0, 30.0, 1e4, np.inf, -1e-3, -2.0, -90.0, -1e4, -np.inf]
)
def test_a_gru_keeps_its_state_at_both_ends(value: float) -> None:
    """Gates that all see `value`, with a state: what z leaves of it, also where z is 0 or 1."""
    case = one_unit(np.float32(value), 3)
    got = native(
        TABLES["FusedGRU"],
        Case({**case.inputs, "initial_h": np.full((1, 1, 1), 0.75, np.float32)}, {"hidden_size": 1}),
    )
    z = 0.5 * (1 + np.tanh(0.5 * float(value)))
    truth = (1 - z) * np.tanh(float(value)) + z * 0.75
    np.testing.assert_allclose(got["Y"].item(), truth, rtol=8 * EPS["float32"], atol=EPS["float32"] * 4)


@pytest.mark.parametrize("op", ["FusedDense", "FusedLSTM", "FusedGRU"])
def test_a_bias_that_is_no_constant_is_added(op: str) -> None:
    """The weights are packed when the model is loaded, the bias is not there before it runs."""
    table = TABLES[op]
    case = next(c for c in table.cases if "B" in c.inputs)
    got = native(table, case, constants={"W", "R"} & case.inputs.keys())
    assert max(table.excess(got, case, "float32", table.roundings).values()) <= 1


def test_no_row_touches_another() -> None:
    """A row of NaN and one that overflows among four that are computed together."""
    table, case = TABLES["ResidualLayerNorm"], layer_norm((6,), 21)
    alone = native(table, case)["Y"]
    case.inputs["X"][1, 20], case.inputs["X"][2, 3] = np.nan, np.inf
    y = native(table, case)["Y"]
    assert np.isnan(y[1:3]).all()
    np.testing.assert_array_equal(y[[0, 3, 4, 5]], alone[[0, 3, 4, 5]])


def test_a_frame_is_in_no_output_before_it() -> None:
    case = average(1, 30, 3, 4)
    case.inputs["X"][0, 17] = np.nan
    y = native(TABLES["MovingAverage"], case)["Y"]
    assert np.isfinite(y[0, :17]).all() and np.isnan(y[0, 17 : 17 + 16]).all()


def test_onnxruntime_makes_one_gemm_of_a_layer_over_rows(tmp_path: Path) -> None:
    """Product and bias apart would be one more pass over the result."""
    settings = session_options()
    settings.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    settings.log_severity_level = 3  # it warns that the file fits this machine only
    session(body_model(TABLES["FusedDense"], dense((4,), activation="relu"), constants="WB"), settings)
    found = {n.op_type for n in onnx.load(tmp_path / "optimised.onnx").graph.node}
    assert found in ({"FusedGemm"}, {"Gemm", "Relu"})


RESIDENT = """
import ctypes, mmap, sys
import onnxruntime
library, large, small = sys.argv[1:]
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
options.register_custom_ops_library(library)
kept = []
def load(path):
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
def resident():
    ctypes.CDLL(None).malloc_trim(0)  # what the heap holds for later is nobody's
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * mmap.PAGESIZE
def growth(beside):
    for i in range(24):
        gone = [load(path) for path in beside]
        kept.append(load(small))
        gone.clear()
        if i == 3:
            before = resident()
    return resident() - before
print(growth([]), growth([large]))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the resident memory from /proc")
def test_small_weights_do_not_keep_the_memory_of_large_ones(tmp_path: Path) -> None:
    """A model of 4 MiB comes and goes twenty times, and a small one that came after it stays each time: that takes no
    more than the small ones alone, with what the runtime holds for each session. The process is theirs alone.
    """
    for name, size in (("large", 1024), ("small", 64)):
        onnx.save(model(TABLES["FusedDense"], dense((1,), size, size), constants="WB"), tmp_path / name)
    command = [sys.executable, "-c", RESIDENT, get_library_path(), tmp_path / "large", tmp_path / "small"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    alone, beside_large = map(int, said.split())
    assert beside_large - alone < 40 << 20


def test_the_error_of_another_shape_is_infinite() -> None:
    assert error(np.array([np.nan]), np.zeros(1)) == np.inf
