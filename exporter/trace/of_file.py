"""The graph of an ONNX file as the passes want it: the declaration's names, axes and opset, shapes everywhere."""

from __future__ import annotations

from collections.abc import Iterable

import onnx
import onnx_ir as ir
from onnx import version_converter
from onnx_ir.passes import common

from temport.exporter.bundle.model_file import InvalidModelError, check
from temport.exporter.declare.declaration import Declaration, TensorSpec
from temport.exporter.errors import UserError, told
from temport.exporter.onnx_source.module import OnnxModule
from temport.exporter.onnx_source.reading import opset_of
from temport.exporter.trace.torch_to_onnx import NEWEST_OPSET, OLDEST_OPSET, part_outputs


def of_file(module: OnnxModule, declaration: Declaration) -> ir.Model:
    """The graph with the module's weights; no node of ours has a body.

    UserError where it cannot be brought to the declaration's opset.
    """
    model = _brought_to(module.with_weights(), declaration)
    outputs = {output.name: output for output in model.graph.output}
    del model.graph.output[:]
    model.graph.output.extend(outputs[name] for name in declaration.returns)
    _give_shapes(model.graph.input, declaration.inputs)
    graph = ir.from_proto(_inferred(model, declaration))
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(graph)
    part_outputs(graph.graph, declaration)
    return graph


def _inferred(model: onnx.ModelProto, declaration: Declaration) -> onnx.ModelProto:
    """With shapes of all values; a size that inference only numbers has the name that an output gives it."""
    del model.graph.value_info[:]
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    axes = declaration.axes.keys()
    known: dict[str, int | str] = {}
    for value, spec in zip(model.graph.output, declaration.outputs, strict=True):
        for dim, size in zip(value.type.tensor_type.shape.dim, spec.onnx_shape(), strict=False):
            if dim.dim_param and dim.dim_param not in axes:
                known.setdefault(dim.dim_param, size)
    for value in model.graph.value_info:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in known:
                _give_size(dim, known[dim.dim_param])
    _give_shapes(model.graph.output, declaration.outputs)
    return model


def _brought_to(model: onnx.ModelProto, declaration: Declaration) -> onnx.ModelProto:
    if not OLDEST_OPSET <= declaration.opset <= NEWEST_OPSET:
        raise UserError(
            f"opset {declaration.opset} is outside what can be exported, {OLDEST_OPSET} to {NEWEST_OPSET}; give "
            "--opset, or export the file again from where it came"
        )
    if opset_of(model) == declaration.opset:
        return model
    del model.graph.value_info[:]
    try:
        converted = version_converter.convert_version(model, declaration.opset)
        check(converted)
    except (RuntimeError, ValueError, InvalidModelError) as error:
        raise UserError(
            f"{declaration.module} cannot be brought from opset {opset_of(model)} to {declaration.opset}: "
            f"{told(error)}; export it again with opset {OLDEST_OPSET} or more"
        ) from error
    return converted


def _give_shapes(values: Iterable[onnx.ValueInfoProto], specs: tuple[TensorSpec, ...]) -> None:
    """The declared sizes and names of axes, in place of the file's."""
    for value, spec in zip(values, specs, strict=True):
        shape = value.type.tensor_type.shape
        del shape.dim[:]
        for size in spec.onnx_shape():
            _give_size(shape.dim.add(), size)


def _give_size(dim: onnx.TensorShapeProto.Dimension, size: int | str) -> None:
    if isinstance(size, int):
        dim.dim_value = size
    else:
        dim.dim_param = size
