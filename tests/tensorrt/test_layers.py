"""Reading the builder's layer table."""

from types import SimpleNamespace

import pytest

from temport.exporter.compilers import worker
from temport.exporter.compilers.contract import CompileError
from temport.exporter.compilers.layers import LayerTensor, parse_layers

TABLE = """Layers:
Name: __mye1_0_myl0_0, LayerType: shape_call, Inputs: [], Constants: [], Outputs: [], TacticName: , StreamId: 0, Metadata: \

Name: _gemm_mha_v2_myl0_4, LayerType: kgen, Inputs: [ { Name: q, Dimensions: [-1,60,64], Strides: [64,-1,1], StrideOrder: [1,2,0], Datatype: Half, Format: (Arbitrary) }], Constants: [ { Name: m, Dimensions: [1,1,60,60], Strides: [1,1,60,1], StrideOrder: [3,2,1,0], Datatype: Half, Format: (Linear) }], Outputs: [ { Name: y, Dimensions: [-1,60,64], Strides: [1], StrideOrder: [0], Datatype: Float, Format: (Linear) }], TacticName: _gemm, StreamId: 0, Metadata: [ONNX Layer: a]\x1f[ONNX Layer: b c]
Name: __myl_IotaLte_myl0_1, LayerType: kgen, Inputs: [], Constants: [], Outputs: [], TacticName: t, StreamId: 0, Metadata: [ONNX Layer: p]
"""  # noqa: E501


def test_table() -> None:
    shape, attention, positions = parse_layers(TABLE)
    assert (shape.type, shape.onnx_nodes, shape.fused_attention) == ("shape_call", (), False)
    assert attention.fused_attention and attention.onnx_nodes == ("a", "b c")
    assert attention.constants == (LayerTensor("m", (1, 1, 60, 60), "Half"),)
    assert attention.constants[0].bytes == 7200
    assert attention.inputs[0].bytes == 0
    assert attention.types == ("Float", "Half")
    assert positions.makes_positions and not attention.makes_positions


def test_columns_that_another_version_adds_or_leaves_out() -> None:
    """No constants, further columns, names with spaces."""
    line = (
        "Name: Conv_0 + Relu_1, LayerType: CaskConvolution, Inputs: [ { Name: x, Dimensions: [1,3,8,8], "
        "Datatype: Half }], Outputs: [ { Name: y, Dimensions: [1,4,8,8], Datatype: Half }], "
        "ParameterType: Convolution, Kernel: [3,3], TacticName: sm80_a, TacticValue: 0x1, StreamId: 0, "
        "Metadata: [ONNX Layer: Conv_0]"
    )
    (layer,) = parse_layers(line)
    assert (layer.name, layer.type, layer.onnx_nodes) == ("Conv_0 + Relu_1", "CaskConvolution", ("Conv_0",))
    assert (layer.constants, [t.shape for t in layer.outputs]) == ((), [(1, 4, 8, 8)])


@pytest.mark.parametrize("loadable", [True, False])
def test_a_builder_without_a_table_is_inspected(loadable: bool) -> None:
    inspector = SimpleNamespace(get_engine_information=lambda kind: f"{kind} of engine")
    loaded = SimpleNamespace(create_engine_inspector=lambda: inspector) if loadable else None
    runtime = SimpleNamespace(deserialize_cuda_engine=lambda engine: loaded)
    trt = SimpleNamespace(
        Runtime=lambda log: runtime, LayerInformationFormat=SimpleNamespace(ONELINE="lines")
    )
    assert worker._inspect(trt, None, b"") == ("lines of engine" if loadable else "")


def test_a_copy_of_a_shape_has_no_tactic() -> None:
    line = (
        "Name: [ShapeHostToDeviceCopy 0], LayerType: ShapeHostToDevice, Inputs: [], Outputs: [ { Name: s, "
        "Location: Device, Dimensions: [], Datatype: Int32, Format: Format not available due to dynamic shapes }], "
        "ParameterType: ShapeH2D, shapeValues0: [-5], TacticValue: 0x0000000000000000, StreamId: 0, Metadata:"
    )
    (layer,) = parse_layers(line)
    assert (layer.name, layer.type) == ("[ShapeHostToDeviceCopy 0]", "ShapeHostToDevice")


def test_a_layer_that_cannot_be_read_fails_the_build() -> None:
    """It could be the one that computes a mask."""
    unknown = "Name: Iota_7, LayerType: kgen, Outputs: none"
    with pytest.raises(CompileError, match=r"a line that cannot be read.*Iota_7"):
        parse_layers(TABLE + unknown)


def test_other_text_is_no_layer() -> None:
    assert parse_layers("I/O Tensors:\n Name: q, IOMode: Input") == []
