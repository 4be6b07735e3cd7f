"""`--activations int8`: inputs of dense layers rounded to int8, from the recording to the report."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator
from test_compressed_weights import SMALL, spoil
from torch import nn

import temport
from temport.exporter.bundle.directory import open_bundle
from temport.exporter.compress.activations import best_scale, with_rounded_inputs
from temport.exporter.errors import UserError
from temport.exporter.graph.rounding import spell_roundings
from temport.exporter.parity.compare import EPS, FLOOR_ULPS
from temport.exporter.parity.rounded_inputs import leaning, rounded
from temport.exporter.passes.round_activations import round_activations
from temport.exporter.recheck import run_parity_of_bundle
from temport.exporter.runtimes import runtime_named
from temport.exporter.verify import run_verify

RUNTIMES = ("onnxruntime_cpu", "onnxruntime_native")


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recording") / "own.npy"
    np.save(path, np.random.default_rng(1).standard_normal((1, 16, 32)).astype(np.float32))
    return path


def export(recording: Path, out: Path, **asked: Any) -> temport.Exported:
    usual = {"settings": SMALL, "seq": 16, "runtimes": RUNTIMES, "weights_dtype": "int8"}
    return temport.export(
        "sliding_window", out=out, **usual | {"activations": "int8", "calibrate": str(recording)} | asked
    )


@pytest.fixture(scope="module")
def made(recording: Path, tmp_path_factory: pytest.TempPathFactory) -> temport.Exported:
    return export(recording, tmp_path_factory.mktemp("rounded") / "b")


def test_layers_take_integers_and_runtimes_agree(made: temport.Exported) -> None:
    assert made.passed
    assert {row.name for row in made.report.runtimes if row.verdict == "pass"} >= set(RUNTIMES)
    compression = made.report.compression
    assert compression is not None
    assert len(compression.inputs) == 7 and all(layer.scale for layer in compression.inputs)
    model = onnx.load(made.path / "model.onnx")
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    given = [name for n in model.graph.node if n.op_type == "FusedDense" for name in n.input[6:]]
    scales = {float(constants[name]) for name in given}
    assert scales == {layer.scale for layer in compression.inputs}
    kinds = [n.op_type for n in model.graph.node]
    assert "Round" not in kinds
    assert kinds.count("QuantizeLinear") == 1  # attention of one query reads what a layer would


def test_the_bundle_holds_what_it_takes_to_check_and_to_make_it_anew(made: temport.Exported) -> None:
    assert run_verify(made.path)
    assert run_parity_of_bundle(made.path, ("onnxruntime_native",))


def double_a_scale(model: onnx.ModelProto) -> None:
    name = next(n.input[6] for n in model.graph.node if n.op_type == "FusedDense" and n.input[6:])
    tensor = next(t for t in model.graph.initializer if t.name == name)
    tensor.CopyFrom(numpy_helper.from_array(2 * numpy_helper.to_array(tensor), name))


def test_another_rounding_is_seen(made: temport.Exported, tmp_path: Path) -> None:
    assert not run_parity_of_bundle(spoil(made.path, double_a_scale, tmp_path / "b"), ("onnxruntime_native",))


@pytest.mark.thorough
def test_standard_operators_say_the_same(recording: Path, tmp_path: Path) -> None:
    done = export(recording, tmp_path / "b", ops="standard", runtimes=("onnxruntime_cpu",))
    assert done.passed
    model = onnx.load(done.path / "model.onnx")
    kinds = [n.op_type for n in model.graph.node]
    assert kinds.count("QuantizeLinear") == 7 and not {"Div", "Round"} & set(kinds)


def test_a_native_engine_rounds_too(recording: Path, tmp_path: Path) -> None:
    """And what reads the rounded numbers beside a layer gets them."""
    done = export(recording, tmp_path / "b", target="native", runtimes=("native_engine",))
    assert done.passed
    source = (done.path / "engine" / "model.cc").read_text()
    nodes = onnx.load(done.path / "model.onnx").graph.node
    layers = [n for n in nodes if n.op_type == "FusedDense" and n.input[6:]]
    assert source.count(" rounded_dense<") == len(layers) and source.count(" dequantise(") == 1
    (engine,) = json.loads((done.path / "engine.json").read_text())["engines"]
    assert engine["weights"]["int8"] > 30_000


@pytest.mark.thorough
def test_a_stream_rounds_too(recording: Path, tmp_path: Path) -> None:
    assert export(recording, tmp_path / "b", streaming=True).passed


@pytest.mark.thorough
def test_a_limit_leaves_inputs_as_they_are(recording: Path, tmp_path: Path) -> None:
    done = export(recording, tmp_path / "b", max_loss=0.0085, runtimes=("onnxruntime_native",))
    compression = done.report.compression
    assert done.passed and compression is not None
    rounds = [layer.scale is not None for layer in compression.inputs]
    assert any(rounds) and not all(rounds)
    judged = [loss.largest for loss in compression.losses if loss.case in compression.judged]
    assert max(judged) <= 0.0085


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"activations": "fp8"}, "give --weights-dtype fp8 in place of int8"),
        ({"activations": "int4"}, "--activations 'int4' is unknown; give int8 or fp8"),
        ({"weights_dtype": "int4"}, "give --weights-dtype int8 in place of int4"),
        ({"weights_dtype": None}, "give --weights-dtype int8 as well"),
        ({"calibrate": ()}, "needs --calibrate FILE"),
        ({"activations": None}, "--calibrate is for --activations"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    recording: Path, tmp_path: Path, asked: dict[str, Any], told: str
) -> None:
    with pytest.raises(UserError, match=told):
        export(recording, tmp_path / "b", **asked)
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda x: x[:, :, :-1], "own.npy"),
        (
            lambda x: np.where(x > 2, np.nan, x),
            "own.npy: state_sequence.* is nan; every value has to be a finite float32",
        ),
    ],
)
def test_a_recording_that_does_not_fit_is_refused(
    recording: Path, tmp_path: Path, change: Callable[[np.ndarray], np.ndarray], told: str
) -> None:
    own = tmp_path / "own.npy"
    np.save(own, change(np.load(recording)).astype(np.float32))
    with pytest.raises(UserError, match=told):
        export(own, tmp_path / "b")


@pytest.mark.parametrize(
    ("scale", "back", "least", "kind", "found"),
    [
        (0.5, 0.5, -128.0, "int8", True),
        (0.5, 0.25, -128.0, "int8", False),
        (0.5, 0.5, -127.0, "int8", False),
        (-0.5, -0.5, -128.0, "int8", False),
        (0.5, 0.5, -448.0, "fp8", True),
        (0.5, 0.5, -449.0, "fp8", False),
    ],
)
def test_only_rounding_to_a_type_is_taken_for_it(
    scale: float, back: float, least: float, kind: str, found: bool
) -> None:
    steps = {
        "int8": "r = Round (q)  c = Clip (r, l, m)",
        "fp8": "r = Clip (q, l, m)  n = Cast <to = 17> (r)  c = Cast <to = 1> (n)",
    }[kind]
    text = f"""<ir_version: 10, opset_import: ["" : 21]> g (float[3, 4] x) => (float[3, 4] y) {{
        q = Div (x, s)  {steps}  y = Mul (c, b)
    }}"""
    model = ir.from_proto(onnx.parser.parse_model(text))
    for name, value in {"s": scale, "b": back, "l": least, "m": 127.0 if kind == "int8" else 448.0}.items():
        tensor = ir.tensor(np.array(value, np.float32), name=name)
        held = next(v for node in model.graph for v in node.inputs if v is not None and v.name == name)
        held.const_value, held.type, held.shape = tensor, ir.TensorType(ir.DataType.FLOAT), ir.Shape([])
        model.graph.register_initializer(held)
    for node in model.graph:
        to = node.attributes.get_int("to", ir.DataType.FLOAT.value)
        node.outputs[0].shape, node.outputs[0].type = ir.Shape([3, 4]), ir.TensorType(ir.DataType(to))
    x = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32) * 400
    (before,) = ReferenceEvaluator(ir.to_proto(model)).run(None, {"x": x})
    assert round_activations(model) is found
    assert ("QuantizeLinear" in {node.op_type for node in model.graph}) is found
    (after,) = ReferenceEvaluator(ir.to_proto(model)).run(None, {"x": x})
    np.testing.assert_array_equal(before, after)
    if kind == "fp8":
        return
    spell_roundings(model)  # and back
    assert "QuantizeLinear" not in {node.op_type for node in model.graph}
    (after,) = ReferenceEvaluator(ir.to_proto(model)).run(None, {"x": x})
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize(("back", "zero", "found"), [(0.5, 0, True), (0.25, 0, False), (0.5, 3, False)])
def test_a_pair_of_operators_that_the_source_has_is_the_same(back: float, zero: int, found: bool) -> None:
    """A layer behind it takes the scale."""
    held = {"s": np.float32(0.5), "b": np.float32(back), "z": np.int8(zero)}
    held |= {"w": np.eye(4, 2, dtype=np.float32), "k": np.zeros(2, np.float32)}
    proto = onnx.parser.parse_model("""<ir_version: 10, opset_import: ["" : 21, "temport" : 1]>
    g (float[3, 4] x) => (float[3, 2] y) {
        n = QuantizeLinear (x, s, z)  c = DequantizeLinear (n, b, z)  y = temport.FusedDense (c, w, k)
    }""")
    proto.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value), name) for name, value in held.items()
    )
    model = ir.from_proto(proto)
    assert round_activations(model) is found
    layer = model.graph[-1]
    assert len(model.graph) == (1 if found else 3)
    assert [v and v.name for v in layer.inputs] == (
        ["x", "w", "k", *[None] * 3, "b"] if found else ["c", "w", "k"]
    )


def test_who_rounds_halves_otherwise_is_not_asked(made: temport.Exported) -> None:
    declaration = open_bundle(made.path).declaration
    mnn = runtime_named("mnn").capabilities
    assert (told := mnn.refusal(declaration)) is not None and "rounds to int8 otherwise" in told
    assert mnn.refusal(replace(declaration, input_scales={})) is None
    eight = replace(declaration, weights_dtype="fp8")
    openvino = runtime_named("openvino").capabilities
    assert (told := openvino.refusal(eight)) is not None and "rounds to fp8 otherwise" in told
    assert openvino.refusal(replace(eight, input_scales={})) is None
    engine = runtime_named("native_engine").capabilities
    assert (told := engine.refusal(eight)) is not None and "rounds to fp8 otherwise" in told
    assert engine.refusal(replace(eight, input_scales={})) is None


def test_a_layer_that_takes_nothing_has_no_scale() -> None:
    assert best_scale(np.zeros(9), "int8") == 0.0


@given(st.integers(0, 2**32), st.floats(1e-3, 1e3), st.sampled_from([1, 3, 40]))
def test_a_scale_is_no_worse_than_that_of_the_largest_number(seed: int, size: float, heavy: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(500) * size
    x[0] *= heavy

    def error(scale: float) -> float:
        return float(np.square(x - np.clip(np.rint(x / scale), -128, 127) * scale).sum())

    scale, plain = best_scale(x, "int8"), float(np.abs(x).max() / 127)
    assert error(scale) <= error(plain) * (1 + 1e-3)
    integers = np.arange(-128, 128)
    products = integers.astype(np.float32) * np.float32(scale)
    assert np.array_equal(products.astype(np.float64), integers * scale)  # nothing is rounded


def test_only_what_lies_next_to_a_border_may_be_decided_otherwise() -> None:
    scale = 0.125
    layer = with_rounded_inputs(
        nn.Sequential(nn.Identity(), nn.Linear(4, 4, bias=False)), {"1": scale}, "int8"
    ).double()
    with torch.no_grad():
        layer[1].weight.copy_(torch.eye(4))
    off = FLOOR_ULPS * EPS["float32"]
    x = torch.tensor([[1.0, 0.3, 0.3125 + off / 2, 0.3125 + 2 * off]], dtype=torch.float64)
    with torch.no_grad():
        truth = layer(x)
        drawn = []
        for draw in range(12):
            with leaning(layer, draw):
                drawn.append(layer(x))
        moved = (torch.cat(drawn) != truth).any(0)
        assert torch.equal(layer(x), truth) and torch.equal(truth, rounded(x, scale))
    assert moved.tolist() == [False, False, True, False]
