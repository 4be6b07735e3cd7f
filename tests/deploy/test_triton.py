"""The generated Triton repository against Triton's own published schema."""

from __future__ import annotations

import dataclasses
import errno
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from small_bundles import rehash, write_step_bundle
from typer.testing import CliRunner

from temport.exporter.bundle.directory import open_bundle, seal, sha256
from temport.exporter.cli import app
from temport.exporter.declare.declaration import Axis, TensorSpec
from temport.exporter.errors import UserError
from temport.exporter.serve.triton import DTYPES, Serving, config, to_text, write_repository

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


@pytest.mark.parametrize(("dtype", "level"), [("float32", None), ("fp16", None), ("int8", -1), ("int4", -1)])
def test_activations_that_meet_integers_stay_floats(
    schema: Any, exported: Exported, dtype: str, level: int | None
) -> None:
    declaration = dataclasses.replace(open_bundle(exported("mega")).declaration, weights_dtype=dtype)
    message = parsed(schema, to_text(config(declaration, "m", Serving(), "0" * 64)))
    assert message.HasField("optimization") == (level is not None)
    assert level is None or message.optimization.graph.level == level


def test_every_element_type_is_one_of_tritons(schema: Any) -> None:
    assert set(DTYPES.values()) <= set(schema.DataType.keys())


def give_engine(bundle: Path) -> None:
    (bundle / "engine.tensorrt.plan").write_bytes(b"plan")
    manifest = open_bundle(bundle).manifest
    manifest["files"]["engine.tensorrt.plan"] = {}
    seal(bundle, manifest)
    rehash(bundle)


def test_a_tensorrt_engine_is_served_as_it_is(schema: Any, bundle: Path, tmp_path: Path) -> None:
    gpu = Serving(backend="tensorrt", device="gpu")
    with pytest.raises(UserError, match="compile it with --target tensorrt first"):
        write_repository(open_bundle(bundle), tmp_path, "m", gpu)
    give_engine(bundle)
    target = write_repository(open_bundle(bundle), tmp_path, "m", gpu)
    assert (target / "1" / "model.plan").read_bytes() == b"plan"
    message = parsed(schema, (target / "config.pbtxt").read_text())
    assert (
        message.backend == "tensorrt" and message.instance_group[0].kind == schema.ModelInstanceGroup.KIND_GPU
    )


def test_a_step_model_leaves_its_state_to_the_server(schema: Any, stepped: Exported, tmp_path: Path) -> None:
    bundle = open_bundle(stepped("sliding_window"))
    target = write_repository(bundle, tmp_path, "m", Serving(streams=20, idle_seconds=2.5, queue_delay_us=0))
    message = parsed(schema, (target / "config.pbtxt").read_text())
    assert [(t.name, list(t.dims)) for t in message.input] == [("frame", [1, 8])]
    assert [(t.name, list(t.dims)) for t in message.output] == [("output", [16])]
    assert message.max_batch_size == 3 and not message.HasField("dynamic_batching")
    batching = message.sequence_batching
    assert batching.max_sequence_idle_microseconds == 2_500_000
    assert batching.oldest.max_candidate_sequences == 20
    assert list(batching.oldest.preferred_batch_size) == [1]
    assert [(s.input_name, s.output_name) for s in batching.state] == list(bundle.declaration.states)
    specs = {spec.name: spec for spec in bundle.declaration.inputs}
    for state in batching.state:
        spec, (initial,) = specs[state.input_name], state.initial_state
        assert list(state.dims) == list(initial.dims) == list(spec.shape[1:])
        assert state.data_type == initial.data_type == schema.DataType.Value(DTYPES[spec.dtype])
        assert initial.zero_data and initial.name
    assert {state.data_type for state in batching.state} == {schema.TYPE_FP32, schema.TYPE_INT64}


def test_streams_of_one_fixed_batch_keep_the_batch_in_their_shapes(schema: Any, tmp_path: Path) -> None:
    bundle = open_bundle(write_step_bundle(tmp_path / "bundle", "mega", batch="1"))
    message = parsed(schema, to_text(config(bundle.declaration, "m", Serving(), "0" * 64)))
    assert message.max_batch_size == 0 and list(message.input[0].dims) == [1, 1, 8]
    assert all(s.dims[0] == 1 for s in message.sequence_batching.state)


def command(*words: str | Path) -> int | str:
    """`temport triton` in this process: its exit code, or the sentence of a refusal."""
    try:
        done = CliRunner().invoke(app, ["triton", *map(str, words)], catch_exceptions=False)
    except UserError as error:
        return str(error)
    return done.exit_code if done.exit_code == 0 else done.output


def test_the_command_writes_every_backend_of_the_bundle(schema: Any, bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "models"
    assert command(bundle, "--out", out, "--instances", 2) == 0
    assert [path.name for path in out.iterdir()] == ["bundle"]
    give_engine(bundle)
    assert command(bundle, "--out", out, "--name", "both", "--ops-library", "/lib/ops.so") == 0
    configs = {p.name: parsed(schema, (p / "config.pbtxt").read_text()) for p in out.iterdir()}
    assert {name: c.backend for name, c in configs.items()} == {
        "bundle": "onnxruntime",
        "both": "onnxruntime",
        "both-tensorrt": "tensorrt",
    }
    assert all(name == c.name for name, c in configs.items())
    assert configs["bundle"].instance_group[0].count == 2
    assert list(configs["both"].model_operations.op_library_filename) == ["/lib/ops.so"]


def test_the_command_refuses_before_anything_is_written(bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "models"
    assert "compile it with --target tensorrt first" in str(
        command(bundle, "--out", out, "--backend", "tensorrt")
    )
    assert "backend 'python' is unknown" in str(command(bundle, "--out", out, "--backend", "python"))
    assert "is not a bundle" in str(command(tmp_path / "nothing", "--out", out))
    assert "streams are at least 1" in str(command(bundle, "--out", out, "--streams", 0))
    assert "idle seconds are nan" in str(command(bundle, "--out", out, "--idle-seconds", "nan"))
    assert not out.exists()
    (tmp_path / "file").write_text("")
    assert "is a file" in str(command(bundle, "--out", tmp_path / "file"))
    give_engine(bundle)
    (out / "m-tensorrt").mkdir(parents=True)
    assert "m-tensorrt exists" in str(command(bundle, "--out", out, "--name", "m"))
    assert [path.name for path in out.iterdir()] == ["m-tensorrt"]


def test_a_half_written_repository_is_taken_back(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_engine(bundle)
    real = Path.write_bytes

    def full(target: Path, content: bytes) -> int:
        if target.name == "model.plan":
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(target, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    assert "nothing was written" in str(command(bundle, "--out", tmp_path / "models"))
    assert list((tmp_path / "models").iterdir()) == []


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
