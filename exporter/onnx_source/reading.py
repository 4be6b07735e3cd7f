"""An ONNX file of anybody's, read with care: valid, whole, made of operators that are known, in one spelling."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from temport.custom_ops.table import OPS
from temport.exporter.bundle.model_file import LARGEST_PROTOBUF
from temport.exporter.errors import UserError
from temport.exporter.graph.body_domains import every_node, gather
from temport.exporter.graph.retyped import HALVES, retyped
from temport.exporter.graph.standard_operator import RANDOM, is_standard
from temport.exporter.onnx_source.constants import large_constants_held
from temport.exporter.onnx_source.external import take_external_data
from temport.exporter.runtimes.op_reference import without_bodies
from temport.exporter.runtimes.recurrent_layers import ACTIVATIONS

OLDEST_OPSET = 7
"""Before it, sums and products spread along axes that an attribute names."""
RECURRENT = ("LSTM", "GRU", "RNN")
UNSEEN = ("clip", "input_forget", "activation_alpha", "activation_beta")
"""What such a layer may say and no evaluator here knows."""


def read_onnx(path: Path, external_data: bool = False) -> tuple[onnx.ModelProto, str]:
    """A model of ONNX's operators and ours, without function bodies, in float32 where it was in a half type; that type.

    UserError for a file that cannot be a source.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist; --onnx wants an ONNX file")
    if path.stat().st_size > LARGEST_PROTOBUF:
        raise UserError(
            f"{path} is {path.stat().st_size / 2**30:.1f} GiB, over protobuf's 2 GiB for one file"
        )
    model = onnx.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise UserError(f"{path} is not an ONNX model") from error
    if not model.graph.node:
        raise UserError(f"{path} is not an ONNX model: it has no graph with a node")
    if not all(
        isinstance(name, str) for name in _names(model.graph)
    ):  # protobuf hands over what is no UTF-8 as bytes
        raise UserError(f"{path} is not an ONNX model: a name in it is no text")
    take_external_data(model, path, external_data)
    for part in (*model.opset_import, *every_node(model.graph)):
        if part.domain == "ai.onnx":
            part.domain = ""
    _check(model, path)
    model = _one_spelling(model)
    for node in every_node(model.graph):
        _check_node(node, path)
    return _widened(model, path)


def _names(graph: onnx.GraphProto) -> Iterator[str | bytes]:
    yield from (value.name for value in (*graph.input, *graph.output, *graph.initializer))
    for value in (*graph.input, *graph.output):
        yield from (dim.dim_param for dim in value.type.tensor_type.shape.dim)
    for node in every_node(graph):
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)


def opset_of(model: onnx.ModelProto) -> int:
    """The version of ONNX's operators that the model uses."""
    return next(opset.version for opset in model.opset_import if opset.domain == "")


def _check(model: onnx.ModelProto, path: Path) -> None:
    try:
        if any(not output.type.tensor_type.HasField("shape") for output in model.graph.output):
            model.CopyFrom(onnx.shape_inference.infer_shapes(model))
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError) as error:
        raise UserError(f"{path} is no valid ONNX model: {' '.join(str(error).split())[:300]}") from error
    if model.graph.sparse_initializer:
        raise UserError(f"{path} has sparse weights, which no runtime here takes; make them dense")
    versions = [opset.version for opset in model.opset_import if not opset.domain]
    if not versions or versions[0] < OLDEST_OPSET:
        raise UserError(
            f"{path} has opset {versions[0] if versions else 'none'}; the oldest that is read is {OLDEST_OPSET}"
        )


def _one_spelling(model: onnx.ModelProto) -> onnx.ModelProto:
    """Foreign functions inlined, our ops without bodies, no weight among the inputs or in a node."""
    gather(model)
    model = without_bodies(model)
    for node in every_node(model.graph):
        node.overload = ""
    large_constants_held(model)
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    return model


def _check_node(node: onnx.NodeProto, path: Path) -> None:
    where = f"node {node.name or node.output[0]} of {path}"
    ours = node.op_type in OPS and node.domain == OPS[node.op_type].domain
    if not ours and not (is_standard(node) and onnx.defs.has(node.op_type)):
        raise UserError(
            f"{where} is {node.op_type} of the domain {node.domain or 'ai.onnx'!r}, which is no operator of ai.onnx, "
            "and the file has no function body for it; export the model again without it"
        )
    if is_standard(node, *RANDOM) or (is_standard(node, "Dropout") and len(node.input) > 2 and node.input[2]):
        raise UserError(
            f"{where} is {node.op_type}, which can be random, so nothing can be compared with it; export the model for "
            "inference, and take noise as an input"
        )
    if is_standard(node, *RECURRENT):
        named = [word.decode() for a in node.attribute if a.name == "activations" for word in a.strings]
        unseen = [a.name for a in node.attribute if a.name in UNSEEN and (a.f or a.i or a.floats)]
        unseen += [f"the activation {name}" for name in named if name not in ACTIVATIONS]
        if unseen:
            raise UserError(
                f"{where} is {node.op_type} with {unseen[0]}, which the evaluator of the oracle does not know; export "
                "the model again without it"
            )


def _widened(model: onnx.ModelProto, path: Path) -> tuple[onnx.ModelProto, str]:
    """A half-precision graph becomes a float32 one of the same values, with the same types outside."""
    outside = {
        value.name: value.type.tensor_type.elem_type
        for value in (*model.graph.input, *model.graph.output)
        if value.type.tensor_type.elem_type in HALVES
    }
    weights = {tensor.data_type for tensor in model.graph.initializer}
    found = weights & HALVES.keys() or (set() if onnx.TensorProto.FLOAT in weights else set(outside.values()))
    if not found:
        return model, "float32"
    if len(found) > 1:
        raise UserError(f"{path} mixes float16 and bfloat16 weights; give it in float32, and --precision")
    model = retyped(model, onnx.TensorProto.FLOAT)
    nodes = list(model.graph.node)
    casts_in, casts_out = [], []
    for value in (*model.graph.input, *model.graph.output):
        if value.name not in outside:
            continue
        inside = f"{value.name}/float32"
        value.type.tensor_type.elem_type = outside[value.name]
        if any(value.name in node.output for node in nodes):
            casts_out.append(
                onnx.helper.make_node("Cast", [inside], [value.name], inside, to=outside[value.name])
            )
        else:
            casts_in.append(
                onnx.helper.make_node("Cast", [value.name], [inside], inside, to=onnx.TensorProto.FLOAT)
            )
        for node in every_node(model.graph):
            for names in (node.input, node.output):
                for place, name in enumerate(names):
                    names[place] = inside if name == value.name else name
    del model.graph.node[:]
    model.graph.node.extend([*casts_in, *nodes, *casts_out])
    return model, HALVES[found.pop()]
