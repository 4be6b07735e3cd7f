"""The graph of an ONNX file as the passes want it: the declaration's names, axes and opset, shapes everywhere."""

from __future__ import annotations

from collections.abc import Iterable

import onnx
import onnx_ir as ir
from onnx import version_converter

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
    _give_shapes(model.graph.output, declaration.outputs)
    del model.graph.value_info[:]
    graph = ir.from_proto(onnx.shape_inference.infer_shapes(model, data_prop=True))
    part_outputs(graph.graph, declaration)
    return graph


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
            if isinstance(size, int):
                shape.dim.add().dim_value = size
            else:
                shape.dim.add().dim_param = size
