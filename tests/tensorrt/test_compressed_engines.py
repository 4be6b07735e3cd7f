"""Engines of weights in fewer bits and of quantised graphs: what they hold, what is widened, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import temport
from temport.exporter.compilers.compile import compile_model
from temport.exporter.compilers.contract import CompileOptions
from temport.exporter.compilers.lint import refusals
from temport.exporter.compilers.lower_biases import lower_biases
from temport.exporter.compilers.tensorrt_rtx import BACKEND
from temport.exporter.declare.declaration import Declaration, TensorSpec
from temport.exporter.errors import UserError

SMALL = ("embed_dim=32", "num_heads=2", "head_dim=32", "num_layers=1", "window_size=8", "ffn_dim=64")


@pytest.mark.thorough
def test_an_engine_holds_integers_as_the_file_does(tmp_path: Path) -> None:
    """Two heads side by side among them; with rounded activations `test_rounded_engines.py` asks it in each run."""
    done = temport.export(
        "sliding_window",
        settings=SMALL,
        seq=16,
        out=tmp_path / "b",
        weights_dtype="int8",
        target="tensorrt-rtx",
        runtimes=("onnxruntime_cpu",),
    )
    assert done.passed and not any("in a wider type" in text for text in done.report.warnings)
    (engine,) = json.loads((done.path / "engine.json").read_text())["engines"]
    held = onnx.load(done.path / "model.onnx").graph.initializer
    stored = sum(len(tensor.raw_data) for tensor in held if tensor.data_type == TensorProto.INT8)
    assert engine["constants"]["Int8"] == stored > 8000
    constants = [c for layer in engine["layers"] for c in layer["constants"]]
    assert any(c["element_type"] == "Int8" for c in constants)
    assert {(p["input"], p["held"], p["computes_in"]) for p in engine["products"]} == {
        ("float32", "int8", "float32")
    }


def test_halves_are_widened_and_that_is_said(tmp_path: Path) -> None:
    """The same product with its weight in int4 and in float16."""
    for kind, held, told in ((TensorProto.INT4, "Int4", 0), (TensorProto.FLOAT16, "Float", 1)):
        onnx.save(product(kind), tmp_path / "m.onnx")
        report = compile_model("tensorrt-rtx", tmp_path / "m.onnx", SPEC, tmp_path)
        assert report.constants[held] >= 1024 * (4 if told else 0.5)
        assert len(report.warnings) == told
    assert (
        "of 1024 numbers that the model stores as float16 the engine holds 1024 in a wider type"
        in report.warnings[0]
    )


def quantised_file(path: Path, **asked: Any) -> Path:
    """Dense layers and a normalised residual branch, through onnxruntime's own quantizer."""
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    random = np.random.default_rng(0)
    weights = {
        "first": random.standard_normal((16, 32)) / 4,
        "second": random.standard_normal((32, 32)) / 6,
        "third": random.standard_normal((32, 16)) / 6,
        **{name: random.standard_normal(32) for name in ("bias", "gain", "shift")},
    }
    nodes = [
        helper.make_node("MatMul", ["x", "first"], ["product"], name="first_product"),
        helper.make_node("Add", ["product", "bias"], ["dense"], name="sum"),
        helper.make_node("Relu", ["dense"], ["active"], name="relu"),
        helper.make_node("MatMul", ["active", "second"], ["mixed"], name="second_product"),
        helper.make_node("LayerNormalization", ["mixed", "gain", "shift"], ["normal"], name="norm"),
        helper.make_node("Add", ["active", "normal"], ["both"], name="residual"),
        helper.make_node("MatMul", ["both", "third"], ["y"], name="third_product"),
    ]
    info = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2, size])
        for name, size in (("x", 16), ("y", 16))
    ]
    constants = [numpy_helper.from_array(w.astype(np.float32), name) for name, w in weights.items()]
    graph = helper.make_graph(nodes, "g", info[:1], info[1:], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)

    class Recording(CalibrationDataReader):  # type: ignore[misc]  # it has no types
        def __init__(self) -> None:
            self.left = [{"x": random.standard_normal((1, 2, 16)).astype(np.float32)} for _ in range(4)]

        def get_next(self) -> Any:
            return self.left.pop() if self.left else None

    symmetric = {"ActivationSymmetric": True, "WeightSymmetric": True}
    made = path.with_suffix(".quantised.onnx")
    given = {"activation_type": QuantType.QInt8, "per_channel": True, "extra_options": symmetric} | asked
    quantize_static(path, made, Recording(), **given)
    return made


def pairs(path: Path) -> list[tuple[str, list[tuple[int, bytes]]]]:
    """Every quantising node, with its constants."""
    model = onnx.load(path)
    held = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    return [
        (
            node.op_type,
            [(place, held[name].tobytes()) for place, name in enumerate(node.input) if name in held],
        )
        for node in model.graph.node
        if node.op_type in ("QuantizeLinear", "DequantizeLinear")
    ]


def test_a_users_quantised_file_stays_as_it_is_and_becomes_int8_products(tmp_path: Path) -> None:
    given = quantised_file(tmp_path / "plain.onnx")
    done = temport.export(
        onnx=given, out=tmp_path / "b", target="tensorrt-rtx", runtimes=("onnxruntime_cpu", "openvino")
    )
    assert done.passed and not done.report.warnings
    assert pairs(done.path / "model.onnx") == pairs(given)
    (engine,) = json.loads((done.path / "engine.json").read_text())["engines"]
    products = [layer for layer in engine["layers"] if layer["type"] == "gemm"]
    assert len(products) == 3 and all("Int8" in layer["element_types"] for layer in products)


@pytest.mark.parametrize("zero", [True, False], ids=["uint8", "by default"])
def test_unsigned_integers_are_refused(zero: bool) -> None:
    """TensorRT reads them as signed ones, and clips elsewhere, with a warning in its log alone."""
    constants = [
        numpy_helper.from_array(np.array(v, t), n) for n, v, t in (("s", 0.5, np.float32), ("z", 0, np.uint8))
    ]
    given = ["s", "z"] if zero else ["s"]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", *given], ["q"], name="quantise"),
        helper.make_node("DequantizeLinear", ["q", *given], ["y"], name="dequantise"),
    ]
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 8, 32]) for name in "xy"]
    graph = helper.make_graph(nodes, "g", info[:1], info[1:], constants[: len(given)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    (sentence, *_) = refusals(ir.from_proto(model), SPEC, BACKEND, ())
    assert "QuantizeLinear quantise is of uint8, which tensorrt-rtx silently makes int8" in sentence


def test_a_zero_point_is_refused_in_a_sentence(tmp_path: Path) -> None:
    from onnxruntime.quantization import QuantType

    given = quantised_file(tmp_path / "plain.onnx", activation_type=QuantType.QUInt8, extra_options={})
    with pytest.raises(
        UserError, match=r"QuantizeLinear .* has a zero point other than 0.*ActivationSymmetric"
    ):
        temport.export(onnx=given, out=tmp_path / "b", target="tensorrt-rtx", runtimes=("onnxruntime_cpu",))
    assert not (tmp_path / "b").exists()


def test_biases_become_what_the_definition_says() -> None:
    values, scale = np.array([3, -(2**30), 7], np.int32), np.array([0.1, 0.3, 1e-3], np.float32)
    constants = [numpy_helper.from_array(a, name) for a, name in ((values, "q"), (scale, "s"))]
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "s"], ["b"], name="bias", axis=0),
        helper.make_node("Add", ["x", "b"], ["y"], name="sum"),
    ]
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 3]) for name in "xy"]
    graph = helper.make_graph(nodes, "g", info[:1], info[1:], constants)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    model = ir.from_proto(proto)
    lower_biases(model)
    lowered = ir.to_proto(model)
    assert [node.op_type for node in lowered.graph.node] == ["Add"]
    x = {"x": np.zeros((2, 3), np.float32)}
    assert np.array_equal(*(ReferenceEvaluator(m).run(None, x)[0] for m in (proto, lowered)))


def product(kind: int) -> onnx.ModelProto:
    """One product with a stored weight; where that is fp8, of activations in fp8."""
    weight = helper.make_tensor("w", kind, [32, 32], [float(n % 5 - 2) for n in range(1024)])
    scale = numpy_helper.from_array(np.full((1, 32), 0.5, np.float16), "scale")
    one = numpy_helper.from_array(np.array(0.5, np.float32), "one")
    zero = helper.make_tensor("zero", TensorProto.FLOAT8E4M3FN, [], [0.0])
    numbers = {
        TensorProto.FLOAT16: [helper.make_node("Cast", ["w"], ["n"], name="numbers", to=TensorProto.FLOAT)],
        TensorProto.INT4: [
            helper.make_node("Cast", ["scale"], ["s"], name="wide_scale", to=TensorProto.FLOAT),
            helper.make_node("DequantizeLinear", ["w", "s"], ["n"], name="numbers", axis=0, block_size=32),
        ],
        TensorProto.FLOAT8E4M3FN: [
            helper.make_node("QuantizeLinear", ["x", "one", "zero"], ["q"], name="quantise"),
            helper.make_node("DequantizeLinear", ["q", "one", "zero"], ["d"], name="dequantise"),
            helper.make_node("DequantizeLinear", ["w", "one", "zero"], ["n"], name="numbers"),
        ],
    }[kind]
    given = "d" if kind == TensorProto.FLOAT8E4M3FN else "x"
    nodes = [*numbers, helper.make_node("MatMul", [given, "n"], ["y"], name="product")]
    read = {name for node in nodes for name in node.input}
    constants = [tensor for tensor in (weight, scale, one, zero) if tensor.name in read]
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 8, 32]) for name in "xy"]
    graph = helper.make_graph(nodes, "g", info[:1], info[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


SPEC = Declaration("module", {}, (TensorSpec("x", "float32", (2, 8, 32)),), ())


def test_fp8_activations_and_weights_become_one_product(tmp_path: Path) -> None:
    onnx.save(product(TensorProto.FLOAT8E4M3FN), tmp_path / "m.onnx")
    report = compile_model("tensorrt-rtx", tmp_path / "m.onnx", SPEC, tmp_path)
    (made,) = [layer for layer in report.layers if layer["type"] == "gemm"]
    assert "FP8" in made["element_types"]  # type: ignore[operator]
    assert report.constants["FP8"] == 1024
    assert report.warnings[0].startswith(
        "the engine names compute capability 8.0, 8.6, which has no float8e4m3fn"
    )
    ada = CompileOptions(compute_capabilities=("89",))
    assert not compile_model("tensorrt-rtx", tmp_path / "m.onnx", SPEC, tmp_path, ada).warnings


@pytest.mark.parametrize(
    ("kind", "lacks"),
    [(TensorProto.INT4, "75"), (TensorProto.FLOAT8E4M3FN, "75"), (TensorProto.FLOAT8E4M3FN, "86")],
)
def test_a_type_that_a_gpu_lacks_is_refused(kind: int, lacks: str) -> None:
    model = ir.from_proto(product(kind))
    assert refusals(model, SPEC, BACKEND, ("89",)) == []
    (sentence,) = refusals(model, SPEC, BACKEND, (lacks, "89"))
    assert f"which compute capability {lacks[0]}.{lacks[1]} lacks; leave {lacks} out of" in sentence
