"""Reading the builder's layer table."""

from exporter.compilers.layers import LayerTensor, parse_layers

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


def test_other_text_is_no_layer() -> None:
    assert parse_layers("I/O Tensors:\n Name: q, IOMode: Input") == []
