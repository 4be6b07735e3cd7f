"""Write `temport::BlockLinearAttention` so that its softmax part is one fused kernel (float16 and bfloat16).

Blocks become batch entries: the causal softmax inside each of B*n blocks is one `ai.onnx::Attention` over
`[B*n, block, H*D]`. The linear part stays in float32: its sums over earlier blocks are one product of the block
states with a constant strictly lower triangular matrix. Other nodes keep their function body, and say why.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from temport.custom_ops.block_linear_attention.attributes import OP_NAME, BlockLinearAttributes
from temport.custom_ops.domain import DOMAIN
from temport.custom_ops.layout import read_layout
from temport.exporter.compilers.contract import Backend, CompileError
from temport.exporter.compilers.graph_edit import GraphEdit
from temport.exporter.compilers.lower_attention import LoweredAttention

_AUTO = -1


def lower_block_linear(model: ir.Model, backend: Backend) -> list[LoweredAttention]:
    """Replace the nodes of `model`, in place, whose length is static and whose heads the fused kernel takes."""
    nodes = [node for node in model.graph if node.domain == DOMAIN and node.op_type == OP_NAME]
    return [_lower(model.graph, node, backend) for node in nodes]


def _lower(graph: ir.Graph, node: ir.Node, backend: Backend) -> LoweredAttention:
    a = BlockLinearAttributes.parse({name: attribute.value for name, attribute in node.attributes.items()})
    shapes: list[list[int | None] | None] = []
    for value in [*node.inputs, None, None][:3]:
        if value is not None and value.shape is None:
            raise CompileError(f"{node.name}: input {value.name} has no shape; export the model again")
        sizes = None if value is None else value.shape
        shapes.append(None if sizes is None else [d if isinstance(d, int) else None for d in sizes])
    assert shapes[0] is not None and node.inputs[0] is not None
    H = a.num_heads
    layout = read_layout(OP_NAME, shapes[0], shapes[1], shapes[2], num_heads=H, kv_num_heads=H)
    element, length, dim = node.inputs[0].dtype, layout.query_length, layout.head_dim
    if element is None:
        raise CompileError(f"{node.name}: its inputs have no element type; export the model again")
    why = backend.unfused(element.name, dim)
    if not why and length is None:
        why = "its blocks are batch entries only where the length is fixed"
    if not why and layout.value_dim != dim:
        why = f"values have head dim {layout.value_dim} and keys {dim}"
    if why or length is None:
        why += "; the function body is inlined and its layers have the names of its nodes"
        return LoweredAttention(
            node.name or "", element.name, H, H, dim, layout.value_dim, "decomposed", "body", False, why
        )
    block = min(a.block_size, length)
    count = -(-length // block)
    edit = GraphEdit(graph, node)
    parts = _rows(edit, node, H * dim, count * block - length)
    blocks = [
        edit.op("Reshape", [x, edit.constant(np.array([_AUTO, block, H * dim]), "blocks")]) for x in parts
    ]
    y = edit.op(
        "Attention",
        blocks,
        {"q_num_heads": H, "kv_num_heads": H, "scale": a.scale_for(dim), "is_causal": 1},
        name=node.name,
    )
    if count > 1:
        inter = _linear_part(edit, blocks, a, count, block, dim)
        y = edit.op("Add", [y, edit.op("Cast", [inter], {"to": element})])
    y = edit.op("Reshape", [y, edit.constant(np.array([_AUTO, count * block, H * dim]), "rows")])
    if count * block > length:
        bounds = [
            edit.constant(np.array([n]), role) for n, role in ((0, "first"), (length, "end"), (1, "axis"))
        ]
        y = edit.op("Slice", [y, *bounds])
    edit.replace(node, y)
    return LoweredAttention(node.name or "", element.name, H, H, dim, dim, "fused", "is_causal", False)


def _rows(edit: GraphEdit, node: ir.Node, width: int, padding: int) -> list[ir.Value]:
    """Queries, keys, values `[B, count*block, H*D]`; rows added at the end are seen by no earlier row."""
    inputs = list(node.inputs)
    if len(inputs) < 2 or inputs[1] is None:
        sizes = edit.constant(np.array([width] * 3), "sizes")
        parts = list(edit.ops("Split", [inputs[0], sizes], {"axis": 2}, outputs=3))
    else:
        parts = [value for value in inputs[:3] if value is not None]
    if padding == 0:
        return parts
    pads = edit.constant(np.array([0, 0, 0, 0, padding, 0]), "pads")
    return [edit.op("Pad", [x, pads]) for x in parts]


def _linear_part(
    edit: GraphEdit, blocks: list[ir.Value], a: BlockLinearAttributes, count: int, block: int, dim: int
) -> ir.Value:
    """phi(q) S_b / (phi(q).z_b + eps) in float32, `[B*count, block, H*D]`."""
    H = a.num_heads
    heads = edit.constant(np.array([_AUTO, count, block, H, dim]), "by_head")

    def by_head(x: ir.Value) -> ir.Value:
        wide = edit.op("Cast", [x], {"to": ir.DataType.FLOAT})
        return edit.op("Transpose", [edit.op("Reshape", [wide, heads])], {"perm": [0, 3, 1, 2, 4]})

    q, k, v = (by_head(x) for x in blocks)  # [B, H, count, block, D]
    if a.feature_map == "elu1":
        # max(x, 0) + exp(min(x, 0)): Elu followed by + 1 would round small features away
        zero = edit.constant(np.zeros((), np.float32), "zero")
        q, k = (
            edit.op("Add", [edit.op("Relu", [x]), edit.op("Exp", [edit.op("Min", [x, zero])])])
            for x in (q, k)
        )
    keys = edit.op("Transpose", [k], {"perm": [0, 1, 2, 4, 3]})
    states = edit.op("MatMul", [keys, v])  # [B, H, count, D, D]
    output = edit.op("MatMul", [q, _earlier(edit, states, count, (H, dim, dim))])
    if a.normalizer == "key_sum":
        sums = edit.op("ReduceSum", [k, edit.constant(np.array([3]), "block_axis")], {"keepdims": 1})
        earlier = _earlier(edit, sums, count, (H, 1, dim))  # [B, H, count, 1, D]
        column = edit.op("Transpose", [earlier], {"perm": [0, 1, 2, 4, 3]})
        eps = edit.constant(np.array(a.eps, np.float32), "eps")
        # block 0 has earlier sums of 0, and 0 / (0 + eps) is 0
        output = edit.op("Div", [output, edit.op("Add", [edit.op("MatMul", [q, column]), eps])])
    rows = edit.op("Transpose", [output], {"perm": [0, 2, 3, 1, 4]})
    return edit.op("Reshape", [rows, edit.constant(np.array([_AUTO, block, H * dim]), "joined")])


def _earlier(edit: GraphEdit, states: ir.Value, count: int, shape: tuple[int, int, int]) -> ir.Value:
    """Per block the sum over the blocks before it: a product with a constant matrix, not a scan."""
    H, rows, columns = shape
    flat = edit.op("Reshape", [states, edit.constant(np.array([_AUTO, H, count, rows * columns]), "flat")])
    before = edit.shared_constant(np.tril(np.ones((count, count), np.float32), -1), f"blocks_before_{count}")
    total = edit.op("MatMul", [before, flat])
    return edit.op("Reshape", [total, edit.constant(np.array([_AUTO, H, count, rows, columns]), "states")])
