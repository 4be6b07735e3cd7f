"""A Triton Inference Server model repository from a bundle: `config.pbtxt` follows from the declaration alone.

A step model is served with Triton's implicit state: the server keeps the state of every stream (a Triton sequence)
and feeds it back, a client sends frames and gets outputs.

    REPOSITORY/<name>/config.pbtxt
    REPOSITORY/<name>/1/model.onnx      (backend onnxruntime; function bodies run, or an op library where one is named)
    REPOSITORY/<name>/1/model.plan      (backend tensorrt; the engine that the bundle carries)

Field names and meanings: Triton's model_config.proto.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from temport.exporter.bundle.directory import Bundle
from temport.exporter.bundle.staging import staged
from temport.exporter.declare.declaration import Axis, Declaration, TensorSpec
from temport.exporter.errors import UserError

DTYPES = {
    "bool": "TYPE_BOOL",
    **{f"{sign}int{bits}": f"TYPE_{sign.upper()}INT{bits}" for sign in ("", "u") for bits in (8, 16)},
    "int32": "TYPE_INT32",
    "int64": "TYPE_INT64",
    "float16": "TYPE_FP16",
    "bfloat16": "TYPE_BF16",
    "float32": "TYPE_FP32",
    "float64": "TYPE_FP64",
}
BASIC = -1
"""What Triton calls ONNX Runtime's basic graph optimizations. Those beyond make one kernel of DequantizeLinear and
MatMul, which rounds the activations to int8; Triton has no parameter for the accuracy level that forbids it
(`CONFIG` of exporter/runtimes/onnxruntime_cpu.py).
"""
INTEGERS = ("int8", "int4")
BACKENDS = {"onnxruntime": ("onnxruntime", "model.onnx"), "tensorrt": ("tensorrt", "model.plan")}
"""Backend -> Triton's `backend` and its default model file."""
ENGINE = "engine.tensorrt.plan"
MAX_IDLE_SECONDS = 1e9


@dataclass(frozen=True)
class Word:
    """An enum value: text format writes it without quotes."""

    text: str


Message = list[tuple[str, Any]]
"""A protobuf message in text format, fields in order; a value is a scalar, a `Word`, a list of numbers or a message."""


@dataclass(frozen=True)
class Serving:
    """How the model is served.

    backend              `onnxruntime` or `tensorrt`
    instances            copies of the model per device
    device               `cpu` or `gpu`
    threads              intra-op threads of each copy (onnxruntime)
    queue_delay_us       how long a request may wait for others to share its batch
    ops_library          op library to register (onnxruntime), as the server sees its path; None runs the bodies
    streams              step models: how many streams are open at once; further ones wait
    idle_seconds         step models: a stream without a frame for so long is closed, its state forgotten
    """

    backend: str = "onnxruntime"
    instances: int = 1
    device: str = "cpu"
    threads: int = 1
    queue_delay_us: int = 500
    ops_library: str | None = None
    streams: int = 64
    idle_seconds: float = 60.0

    def __post_init__(self) -> None:
        if self.backend not in BACKENDS:
            raise UserError(f"Triton backend {self.backend!r} is unknown; give one of {', '.join(BACKENDS)}")
        if self.device not in ("cpu", "gpu"):
            raise UserError(f"device {self.device!r} is unknown; give cpu or gpu")
        if self.backend == "tensorrt" and (self.device != "gpu" or self.ops_library):
            raise UserError("the tensorrt backend runs on a gpu and takes no op library")
        if min(self.instances, self.threads, self.streams) < 1 or self.queue_delay_us < 0:
            raise UserError(
                "instances, threads and streams are at least 1, and the queue delay is not negative"
            )
        if not 0.001 <= self.idle_seconds <= MAX_IDLE_SECONDS:
            raise UserError(f"idle seconds are {self.idle_seconds:g}; give 0.001 to {MAX_IDLE_SECONDS:g}")


def write_repository(bundle: Bundle, repository: Path, name: str, serving: Serving | None = None) -> Path:
    """Write `repository/name` whole or not at all; an existing model of that name is refused."""
    serving = serving or Serving()
    target = check_target(bundle, repository, name, serving)
    source = _source(serving)
    with staged(target) as work:
        (work / "1").mkdir()
        _, file = BACKENDS[serving.backend]
        (work / "1" / file).write_bytes(bundle.read(source))
        if serving.backend == "onnxruntime":
            for extra, content in bundle.weights_beside().items():
                (work / "1" / extra).write_bytes(content)
        text = to_text(config(bundle.declaration, name, serving, bundle.manifest["files"][source]["sha256"]))
        (work / "config.pbtxt").write_text(text)
    return target


def check_target(bundle: Bundle, repository: Path, name: str, serving: Serving) -> Path:
    """Where `write_repository` would write; UserError where it would not, before anything is written."""
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,128}", name) or name.startswith("."):
        raise UserError(f"model name {name!r} is not letters, digits, '_', '-' and '.'")
    if repository.exists() and not repository.is_dir():
        raise UserError(f"{repository} is a file; name a directory for the repository")
    if bundle.file(_source(serving)) is None:
        raise UserError(f"{bundle.path} has no {ENGINE}; compile it with --target tensorrt first")
    target = repository / name
    if target.exists():
        raise UserError(f"{target} exists; choose another name or remove it")
    return target


def _source(serving: Serving) -> str:
    return "model.onnx" if serving.backend == "onnxruntime" else ENGINE


def config(declaration: Declaration, name: str, serving: Serving, digest: str) -> Message:
    """The `ModelConfig` message. The states of a step model are the server's, so they are neither inputs nor outputs.

    Requests are batched by the server only where every input and output leads with a dynamic batch axis; a model
    exported for a fixed batch keeps that axis in its shapes and `max_batch_size` is 0, as Triton defines it.
    """
    batch = _batch_axis(declaration)
    backend, file = BACKENDS[serving.backend]
    message: Message = [
        ("name", name),
        ("backend", backend),
        ("default_model_filename", file),
        ("max_batch_size", batch.max if batch else 0),
    ]
    carried = {name for pair in declaration.states for name in pair}
    for side, specs in (("input", declaration.inputs), ("output", declaration.outputs)):
        message += [
            (side, _tensor(spec, batched=batch is not None)) for spec in specs if spec.name not in carried
        ]
    message.append(
        ("instance_group", [("count", serving.instances), ("kind", Word(f"KIND_{serving.device.upper()}"))])
    )
    batching: Message = [("preferred_batch_size", [batch.opt])] if batch else []
    batching.append(("max_queue_delay_microseconds", serving.queue_delay_us))
    if declaration.streaming:
        message.append(
            ("sequence_batching", _sequences(declaration, serving, batching, batched=batch is not None))
        )
    elif batch:
        message.append(("dynamic_batching", batching))
    if serving.backend == "onnxruntime":
        threads = {"intra_op_thread_count": serving.threads, "inter_op_thread_count": 1}
        message += [_parameter(key, str(count)) for key, count in threads.items()]
        if declaration.weights_dtype in INTEGERS:
            message.append(("optimization", [("graph", [("level", BASIC)])]))
    if serving.ops_library:
        message.append(("model_operations", [("op_library_filename", serving.ops_library)]))
    message += [
        _parameter("temport.architecture", declaration.arch),
        _parameter("temport.semantics", str(declaration.semantics)),
        _parameter("temport.sha256", digest),
    ]
    return message


def to_text(message: Message, indent: str = "") -> str:
    """Protobuf text format."""
    lines = []
    for key, value in message:
        if isinstance(value, Word):
            lines.append(f"{indent}{key}: {value.text}\n")
        elif isinstance(value, list) and value and isinstance(value[0], tuple):
            lines.append(f"{indent}{key} {{\n{to_text(value, indent + '  ')}{indent}}}\n")
        elif isinstance(value, list):
            lines.append(f"{indent}{key}: [ {', '.join(map(str, value))} ]\n")
        else:
            lines.append(f"{indent}{key}: {json.dumps(value)}\n")
    return "".join(lines)


def _batch_axis(declaration: Declaration) -> Axis | None:
    leading = {spec.shape[0] if spec.shape else None for spec in (*declaration.inputs, *declaration.outputs)}
    (first, *others) = leading
    return first if isinstance(first, Axis) and not others and not first.static else None


def _sequences(declaration: Declaration, serving: Serving, batching: Message, batched: bool) -> Message:
    """Streams in the `oldest` strategy, which batches frames of different streams; their state starts at zero."""
    inputs = {spec.name: spec for spec in declaration.inputs}
    message: Message = [
        ("max_sequence_idle_microseconds", round(serving.idle_seconds * 1e6)),
        ("oldest", [("max_candidate_sequences", serving.streams), *batching]),
    ]
    for before, after in declaration.states:
        kind = [("data_type", Word(DTYPES[inputs[before].dtype])), ("dims", _sizes(inputs[before], batched))]
        zero = ("initial_state", [("name", "zero"), *kind, ("zero_data", Word("true"))])
        message.append(("state", [("input_name", before), ("output_name", after), *kind, zero]))
    return message


def _tensor(spec: TensorSpec, batched: bool) -> Message:
    sizes = _sizes(spec, batched)
    message: Message = [("name", spec.name), ("data_type", Word(DTYPES[spec.dtype])), ("dims", sizes or [1])]
    # Triton has no tensors without dimensions beside the batch: they travel as [1]
    return message if sizes else [*message, ("reshape", [("shape", [])])]


def _sizes(spec: TensorSpec, batched: bool) -> list[int]:
    """Sizes as Triton counts them: without the batch where the server batches, -1 for an open axis."""
    return [
        (axis.opt if axis.static else -1) if isinstance(axis, Axis) else axis
        for axis in (spec.shape[1:] if batched else spec.shape)
    ]


def _parameter(key: str, value: str) -> tuple[str, Message]:
    return "parameters", [("key", key), ("value", [("string_value", value)])]
