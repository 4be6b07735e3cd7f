"""The generated Triton repository against Triton's own published schema."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format

from exporter.bundle import open_bundle, sha256
from exporter.declaration import Axis, TensorSpec
from exporter.errors import UserError
from exporter.triton import DTYPES, Serving, config, to_text, write_repository

Exported = Callable[[str], Path]


@pytest.fixture(scope="module")
def schema() -> Any:
    """model_config.proto as compiled into NVIDIA's client; the client itself would import gRPC."""
    client = importlib.util.find_spec("tritonclient")
    assert client is not None and client.origin, (
        "tritonclient is not installed: pip install --no-deps tritonclient"
    )
    file = Path(client.origin).parent / "grpc" / "model_config_pb2.py"
    spec = importlib.util.spec_from_file_location("model_config_pb2", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def parsed(schema: Any, text: str) -> Any:
    return text_format.Parse(text, schema.ModelConfig())


def test_repository_of_a_batched_model(schema: Any, exported: Exported, tmp_path: Path) -> None:
    bundle = open_bundle(exported("mega"))
    target = write_repository(bundle, tmp_path, "mega", Serving(instances=2, threads=3, queue_delay_us=250))
    assert sha256(target / "1" / "model.onnx") == bundle.manifest["files"]["model.onnx"]["sha256"]
    message = parsed(schema, (target / "config.pbtxt").read_text())
    assert (message.name, message.backend, message.max_batch_size) == ("mega", "onnxruntime", 5)
    (frames,), (output,) = message.input, message.output
    assert (frames.name, list(frames.dims), frames.data_type) == ("state_sequence", [12, 8], schema.TYPE_FP32)
    assert (output.name, list(output.dims)) == ("output", [16])
    assert list(message.dynamic_batching.preferred_batch_size) == [2]
    assert message.dynamic_batching.max_queue_delay_microseconds == 250
    (group,) = message.instance_group
    assert (group.count, group.kind) == (2, schema.ModelInstanceGroup.KIND_CPU)
    assert message.parameters["intra_op_thread_count"].string_value == "3"
    assert message.parameters["temport.sha256"].string_value == sha256(target / "1" / "model.onnx")


def test_fixed_and_open_axes(schema: Any, exported: Exported) -> None:
    declaration = open_bundle(exported("mega")).declaration
    seq = Axis("seq", 1, 60, 1024)

    def message(*shape: Axis | int) -> Any:
        inputs = (TensorSpec("x", "float32", shape),)
        changed = dataclasses.replace(
            declaration, inputs=inputs, outputs=(TensorSpec("y", "float32", shape[:1]),)
        )
        return parsed(schema, to_text(config(changed, "m", Serving(), "0" * 64)))

    fixed = message(Axis("batch", 1, 1, 1), seq, 8)
    assert fixed.max_batch_size == 0 and list(fixed.input[0].dims) == [1, -1, 8]
    assert not fixed.HasField("dynamic_batching")
    moving = message(Axis("batch", 1, 8, 64), seq, 8)
    assert moving.max_batch_size == 64 and list(moving.input[0].dims) == [-1, 8]
    assert list(moving.output[0].dims) == [1] and moving.output[0].HasField("reshape")


def test_an_op_library_is_named(schema: Any, exported: Exported) -> None:
    declaration = open_bundle(exported("mega")).declaration
    text = to_text(config(declaration, "m", Serving(ops_library="/opt/libtemport_ops.so"), "0" * 64))
    assert list(parsed(schema, text).model_operations.op_library_filename) == ["/opt/libtemport_ops.so"]


def test_every_element_type_is_one_of_tritons(schema: Any) -> None:
    assert set(DTYPES.values()) <= set(schema.DataType.keys())


def test_a_tensorrt_engine_is_served_as_it_is(schema: Any, bundle: Path, tmp_path: Path) -> None:
    from small_bundles import rehash

    gpu = Serving(backend="tensorrt", device="gpu")
    with pytest.raises(UserError, match="compile it with --target tensorrt first"):
        write_repository(open_bundle(bundle), tmp_path, "m", gpu)
    (bundle / "engine.tensorrt.plan").write_bytes(b"plan")
    opened = open_bundle(bundle)
    opened.manifest["files"]["engine.tensorrt.plan"] = {}
    (bundle / "manifest.json").write_text(json.dumps(opened.manifest))
    rehash(bundle)
    target = write_repository(open_bundle(bundle), tmp_path, "m", gpu)
    assert (target / "1" / "model.plan").read_bytes() == b"plan"
    message = parsed(schema, (target / "config.pbtxt").read_text())
    assert (
        message.backend == "tensorrt" and message.instance_group[0].kind == schema.ModelInstanceGroup.KIND_GPU
    )


def test_mistakes_get_a_sentence(exported: Exported, tmp_path: Path) -> None:
    bundle = open_bundle(exported("mega"))
    with pytest.raises(UserError, match="is not letters"):
        write_repository(bundle, tmp_path, "../up")
    write_repository(bundle, tmp_path, "m")
    with pytest.raises(UserError, match="choose another name"):
        write_repository(bundle, tmp_path, "m")
    for wrong in ({"backend": "python"}, {"device": "tpu"}, {"backend": "tensorrt"}, {"instances": 0}):
        with pytest.raises(UserError):
            Serving(**wrong)
