"""`--activations int8` of an ONNX file: the layers of its graph round what they take, as those of a module do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file
from test_compressed_weights import spoil
from test_rounded_activations_export import double_a_scale

import temport
from temport.exporter.compress.activations import dense_layers, with_rounded_inputs
from temport.exporter.errors import UserError
from temport.exporter.onnx_source.module import OnnxModule
from temport.exporter.parity.compare import EPS, FLOOR_ULPS
from temport.exporter.parity.steps import decided_otherwise
from temport.exporter.recheck import run_parity_of_bundle
from temport.exporter.runtimes.onnxruntime_cpu import OrtSession
from temport.exporter.verify import run_verify

LAYERS = ("first", "second")
FRAMES = 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a recording and a file of two dense layers, whose nodes have no names, of any number of frames."""
    path, random = tmp_path_factory.mktemp("file"), np.random.default_rng(3)
    np.save(path / "own.npy", random.standard_normal((1, FRAMES, 32)).astype(np.float32))
    onnx.save(file(17), path / "dense.onnx")
    return path


def file(opset: int) -> onnx.ModelProto:
    random = np.random.default_rng(4)
    constants = {
        "w1": random.standard_normal((32, 64)) / 6,
        "b1": random.standard_normal(64),
        "w2": random.standard_normal((64, 32)) / 80,
    }
    numbers = [numpy_helper.from_array(a.astype(np.float32), name) for name, a in constants.items()]
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["first"]),
        helper.make_node("Add", ["first", "b1"], ["dense"]),
        helper.make_node("Relu", ["dense"], ["active"]),
        helper.make_node("MatMul", ["active", "w2"], ["second"]),
        helper.make_node("CumSum", ["second", "time"], ["so_far"]),
        helper.make_node("Tanh", ["so_far"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, "seq", 32])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, "seq", 32])],
        [*numbers, numpy_helper.from_array(np.array(1), "time")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def export(folder: Path, out: Path, name: str = "dense.onnx", **asked: Any) -> temport.Exported:
    usual = {"seq": FRAMES, "runtimes": ("onnxruntime_cpu", "onnxruntime_native"), "weights_dtype": "int8"}
    usual |= {"activations": "int8", "calibrate": str(folder / "own.npy")}
    return temport.export(onnx=folder / name, out=out, **usual | asked)


@pytest.fixture(scope="module")
def made(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> temport.Exported:
    return export(folder, tmp_path_factory.mktemp("made") / "b")


def test_layers_round_and_the_oracle_is_what_numpy_says(made: temport.Exported) -> None:
    compression = made.report.compression
    assert made.passed and compression is not None
    scales = {layer.layer: layer.scale for layer in compression.inputs}
    assert tuple(scales) == LAYERS
    model = onnx.load(made.path / "model.onnx")
    fused = [node for node in model.graph.node if node.op_type == "FusedDense"]
    assert len(fused) == 2 and all(len(node.input) > 6 for node in fused)
    held = {t.name: numpy_helper.to_array(t).astype(np.float64) for t in model.graph.initializer}
    weights = [held[node.input[1]] * held[node.input[5]] for node in fused]
    vectors, case = np.load(made.path / "vectors.npz"), f"normal-seq{FRAMES}"
    x = vectors[f"{case}/input/x"].astype(np.float64)
    for scale, weight, bias in zip(scales.values(), weights, (held["b1"], 0.0), strict=True):
        assert scale is not None
        layer = np.clip(np.rint(x / scale), -128, 127) * scale @ weight + bias
        x = np.maximum(layer, 0)
    np.testing.assert_allclose(vectors[f"{case}/output/y"], np.tanh(layer.cumsum(1)), rtol=1e-12)


def test_fp8_is_the_number_of_that_type(folder: Path, tmp_path: Path) -> None:
    """And what the file says otherwise is seen."""
    onnx.save(file(19), folder / "newer.onnx")
    asked = {"weights_dtype": "fp8", "activations": "fp8", "ops": "standard"}
    done = export(folder, tmp_path / "b", "newer.onnx", **asked)
    compression = done.report.compression
    assert done.passed and compression is not None
    first, second = (layer.scale for layer in compression.inputs)
    assert first is not None and second is not None
    model = onnx.load(done.path / "model.onnx")
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count("QuantizeLinear") == 2 and kinds.count("DequantizeLinear") == 4 and "Cast" not in kinds
    weights = [
        numpy_helper.to_array(t) for t in model.graph.initializer if t.data_type == TensorProto.FLOAT8E4M3FN
    ]
    assert sorted(weight.size for weight in weights) == [2048, 2048]
    vectors, case = np.load(done.path / "vectors.npz"), f"normal-seq{FRAMES}"
    stored = load_file(done.path / "weights.safetensors")
    x = vectors[f"{case}/input/x"].astype(np.float64)
    for scale, name, bias in ((first, "w1", stored["b1"]), (second, "w2", 0.0)):
        held = np.clip(x / scale, -448, 448).astype(ml_dtypes.float8_e4m3fn).astype(np.float64) * scale
        layer = held @ stored[name].astype(np.float64) + bias
        x = np.maximum(layer, 0)
    np.testing.assert_allclose(vectors[f"{case}/output/y"], np.tanh(layer.cumsum(1)), rtol=1e-9, atol=1e-12)

    loaded = temport.load(done.path)({"x": vectors[f"{case}/input/x"]})["y"]
    np.testing.assert_allclose(loaded, np.tanh(layer.cumsum(1)), atol=1e-2)
    with pytest.raises(Exception, match="MatMulIntegerToFloat"):  # of int8, which ONNX Runtime makes untold
        OrtSession(done.path / "model.onnx", "", 1)

    def double(model: onnx.ModelProto) -> None:
        name = next(n.input[1] for n in model.graph.node if n.op_type == "QuantizeLinear")
        tensor = next(t for t in model.graph.initializer if t.name == name)
        tensor.CopyFrom(numpy_helper.from_array(2 * numpy_helper.to_array(tensor), name))

    assert not run_parity_of_bundle(spoil(done.path, double, tmp_path / "wrong"), ("onnxruntime_cpu",))


def test_the_bundle_is_made_anew_and_checked_of_the_file(made: temport.Exported, folder: Path) -> None:
    source = str(folder / "dense.onnx")
    assert run_verify(made.path, source)
    assert run_parity_of_bundle(made.path, ("onnxruntime_native",), source=source)


def test_another_rounding_is_seen(made: temport.Exported, tmp_path: Path) -> None:
    spoilt = spoil(made.path, double_a_scale, tmp_path / "b")
    assert not run_parity_of_bundle(spoilt, ("onnxruntime_native",))


def test_a_stream_rounds_as_the_sequence_does(folder: Path, tmp_path: Path) -> None:
    done = export(folder, tmp_path / "b", streaming=True, ops="standard", runtimes=("onnxruntime_cpu",))
    assert done.passed
    kinds = [node.op_type for node in onnx.load(done.path / "model.onnx").graph.node]
    assert kinds.count("QuantizeLinear") == 2 and "Round" not in kinds


def test_a_limit_leaves_an_input_as_it_is(made: temport.Exported, folder: Path, tmp_path: Path) -> None:
    free = made.report.compression
    assert free is not None
    largest = max(loss.largest for loss in free.losses if loss.case in free.judged)
    done = export(folder, tmp_path / "b", runtimes=("onnxruntime_native",), max_loss=0.9 * largest)
    compression = done.report.compression
    assert done.passed and compression is not None
    assert sum(layer.scale is None for layer in compression.inputs) == 1


def test_an_old_file_is_refused() -> None:
    with pytest.raises(UserError, match="needs a file of opset 11 or newer, and this one has 10"):
        dense_layers(OnnxModule(file(10)), ["w1", "w2"], "int8")


def test_a_layer_that_a_file_has_not_is_refused() -> None:
    with pytest.raises(UserError, match="rounds the input of third, a layer that the file has not"):
        with_rounded_inputs(OnnxModule(file(17)), {"third": 1.0}, "int8")


def test_only_what_lies_next_to_a_border_may_be_decided_otherwise() -> None:
    model, scale = file(17), 0.125
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.eye(32, 64, dtype=np.float32), "w1"))
    module = with_rounded_inputs(OnnxModule(model), {"first": scale}, "int8").double()
    off = FLOOR_ULPS * EPS["float32"]
    x = torch.zeros(1, 1, 32, dtype=torch.float64)
    x[..., :4] = torch.tensor([1.0, 0.3, 0.3125 + off / 2, 0.3125 + 2 * off])
    assert isinstance(module, OnnxModule)
    module.model.graph.output.append(helper.make_tensor_value_info("first", TensorProto.FLOAT, None))
    truth = module(x)["first"]
    drawn = []
    for draw in range(12):
        with decided_otherwise(module, draw):
            drawn.append(module(x)["first"])
    assert torch.equal(module(x)["first"], truth)
    assert (torch.cat(drawn) != truth).any(0)[0].nonzero().flatten().tolist() == [2]
