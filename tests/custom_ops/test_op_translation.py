"""torch -> ONNX: each torch op becomes one node that writes every attribute, with no Split around packed input."""

import onnx
import pytest
import torch

from temport.custom_ops.block_linear_attention import block_linear_attention
from temport.custom_ops.online_softmax_attention import online_softmax_attention
from temport.custom_ops.table import OPS


class Packed(torch.nn.Module):
    def forward(self, x, key_mask):
        y = online_softmax_attention(x, key_mask=key_mask, num_heads=2, window=4)
        return y + block_linear_attention(x, num_heads=2, block_size=4)


pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:torch.*", "ignore::FutureWarning:copyreg")


@pytest.fixture(scope="module")
def proto():
    axes = {0: torch.export.Dim("batch", min=1), 1: torch.export.Dim("seq", min=1, max=64)}
    program = torch.onnx.export(
        Packed().eval(),
        (torch.randn(2, 10, 18), torch.ones(2, 10, dtype=torch.bool)),
        dynamo=True,
        opset_version=18,
        dynamic_shapes=(axes, axes),
        custom_translation_table={op.torch_op: op.translate() for op in OPS.values() if op.torch_op},
        verbose=False,
    )
    return program.model_proto


def test_one_node_per_op_and_nothing_around_it(proto):
    assert [n.op_type for n in proto.graph.node] == ["OnlineSoftmaxAttention", "BlockLinearAttention", "Add"]
    onnx.checker.check_model(proto, full_check=True)


def test_every_attribute_is_written(proto):
    for node in proto.graph.node[:2]:
        assert {a.name for a in node.attribute} == set(OPS[node.op_type].schema.attributes)


def test_batch_and_length_stay_symbolic(proto):
    dims = proto.graph.output[0].type.tensor_type.shape.dim
    assert [d.dim_param or d.dim_value for d in dims] == ["batch", "seq", 6]


def test_left_out_inputs_are_empty(proto):
    assert len(proto.graph.node[0].input) == 4 and list(proto.graph.node[0].input[1:3]) == ["", ""]
    assert len([name for name in proto.graph.node[1].input if name]) == 1
