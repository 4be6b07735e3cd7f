"""The one table of operators: whatever a pass, a check or a count knows of an operator stands in its row here.

An operator without a row is no error. A pass that meets one assumes the worst of it, and says so in its `Notes`.
"""

from __future__ import annotations

from typing import Any

from temport.custom_ops.domain import DOMAIN
from temport.exporter.graph import flop_rules, traced_attention
from temport.exporter.graph.elementwise import ELEMENTWISE
from temport.exporter.graph.operator_row import Along, Half, Operator, Time
from temport.exporter.graph.standard_operator import is_standard

_ALL = Operator(along=Along.ALL)
_RECURRENCE = Operator(along=Along.ALL, time=Time.RECURRENT, flops=flop_rules.recurrence)
_WINDOW = Operator(along=Along.WINDOW, time=Time.RECEPTIVE)
_REDUCES = Operator(along=Along.BESIDE_AXES)
_FILLS = Operator(time=Time.FILLED, half=Half.FOLLOWS, moves=True)
_RENAMES = Operator(along=Along.RENAMED, half=Half.FOLLOWS, moves=True, renames=True)

STANDARD: dict[str, Operator] = {
    **ELEMENTWISE,
    # sums of products
    "Attention": Operator(half=Half.SUMS, flops=flop_rules.standard_attention),
    "Conv": Operator(along=Along.WINDOW, time=Time.RECEPTIVE, half=Half.SUMS, flops=flop_rules.conv),
    "ConvTranspose": Operator(along=Along.WINDOW, flops=flop_rules.transposed_conv),
    "Einsum": Operator(time=Time.PRODUCT, half=Half.FOLLOWS, flops=flop_rules.einsum),
    "Gemm": Operator(along=Along.ROWS, half=Half.SUMS, flops=flop_rules.gemm),
    "MatMul": Operator(along=Along.ROWS, time=Time.PRODUCT, half=Half.SUMS, flops=flop_rules.matmul),
    # elements in other places
    "Concat": Operator(along=Along.ACROSS_AXIS, time=Time.CONTEXT, half=Half.FOLLOWS, moves=True),
    "DepthToSpace": Operator(),
    "Expand": _FILLS,
    "Flatten": _RENAMES,
    "Gather": Operator(along=Along.PICKED, time=Time.SELECTED, half=Half.FOLLOWS, moves=True),
    "GatherElements": Operator(),
    "GatherND": Operator(),
    "Pad": Operator(time=Time.CONTEXT, half=Half.FOLLOWS, moves=True),
    "Reshape": _RENAMES,
    "ScatterElements": Operator(),
    "ScatterND": Operator(time=Time.PLACED),
    "Slice": Operator(along=Along.CUT, time=Time.SELECTED, half=Half.FOLLOWS, moves=True),
    "SpaceToDepth": Operator(),
    "Split": Operator(along=Along.ACROSS_AXIS, half=Half.FOLLOWS, moves=True),
    "Squeeze": _RENAMES,
    "Tile": Operator(half=Half.FOLLOWS, moves=True),
    "Transpose": Operator(along=Along.PERMUTED, half=Half.FOLLOWS, moves=True),
    "Trilu": Operator(),
    "Unsqueeze": _RENAMES,
    # softmax and normalisation
    "BatchNormalization": Operator(time=Time.CHANNELS),
    "GroupNormalization": Operator(),
    "Hardmax": Operator(along=Along.ACROSS_AXIS),
    "InstanceNormalization": Operator(),
    "LayerNormalization": Operator(along=Along.FROM_AXIS),
    "LogSoftmax": Operator(along=Along.ACROSS_AXIS),
    "LpNormalization": Operator(along=Along.ACROSS_AXIS),
    "RMSNormalization": Operator(along=Along.FROM_AXIS),
    "Softmax": Operator(along=Along.ACROSS_AXIS),
    # reductions
    "ArgMax": _REDUCES,
    "ArgMin": _REDUCES,
    "ReduceL1": _REDUCES,
    "ReduceL2": _REDUCES,
    "ReduceLogSum": _REDUCES,
    "ReduceLogSumExp": _REDUCES,
    "ReduceMax": _REDUCES,
    "ReduceMean": _REDUCES,
    "ReduceMin": _REDUCES,
    "ReduceProd": _REDUCES,
    "ReduceSum": _REDUCES,
    "ReduceSumSquare": _REDUCES,
    "TopK": Operator(),
    # pooling
    "AveragePool": _WINDOW,
    "GlobalAveragePool": _ALL,
    "GlobalMaxPool": _ALL,
    "MaxPool": _WINDOW,
    # all entries before
    "CumSum": Operator(along=Along.ALL, time=Time.SUM),
    "GRU": _RECURRENCE,
    "LSTM": _RECURRENCE,
    "RNN": _RECURRENCE,
    # sizes and constants
    "Constant": Operator(),
    "ConstantOfShape": Operator(),
    "OneHot": Operator(),
    "Range": Operator(),
    "Shape": Operator(half=Half.UNTYPED),
    "Size": Operator(half=Half.UNTYPED),
    # integers and their scales
    "DequantizeLinear": Operator(),
    "QuantizeLinear": Operator(),
    # graphs inside
    "If": _ALL,
    "Loop": _ALL,
    "Scan": Operator(along=Along.ALL, time=Time.CARRIED),
}

OURS: dict[str, Operator] = {
    "BlockLinearAttention": Operator(
        along=Along.ALL,
        time=Time.BLOCKS,
        half=Half.SUMS,
        flops=flop_rules.block_linear,
        attention="linear",
    ),
    "CachedAttention": Operator(
        along=Along.ALL, flops=flop_rules.cached, attention="softmax", frame=True, standard_attention=True
    ),
    "CachedBlockLinearAttention": Operator(
        along=Along.ALL,
        flops=flop_rules.cached_block_linear,
        attention="linear",
        frame=True,
        standard_attention=True,
    ),
    "FusedDense": Operator(along=Along.ROWS, flops=flop_rules.dense),
    "FusedGRU": _RECURRENCE,
    "FusedLSTM": _RECURRENCE,
    "MovingAverage": Operator(along=Along.WINDOW, time=Time.AVERAGE, flops=flop_rules.moving_average),
    "OnlineSoftmaxAttention": Operator(
        along=Along.QUERIES,
        time=Time.ATTENTION,
        half=Half.SUMS,
        flops=flop_rules.online_softmax,
        attention="softmax",
        standard_attention=True,
    ),
    "ResidualLayerNorm": Operator(along=Along.FROM_AXIS),
}
"""Domain `temport`."""

TRACED: dict[str, Operator] = {traced_attention.NAME: Operator(flops=flop_rules.traced_attention)}
"""What a graph holds until the passes have seen it."""

UNKNOWN = Operator()
"""What is assumed of an operator without a row."""


def known(node: Any) -> Operator | None:
    """The row of a node, of onnx_ir or a NodeProto; None where its operator has none."""
    if is_standard(node):
        return STANDARD.get(node.op_type)
    return {DOMAIN: OURS, traced_attention.DOMAIN: TRACED}.get(node.domain, {}).get(node.op_type)


def of(node: Any) -> Operator:
    """The row of a node, `UNKNOWN` where its operator has none."""
    return known(node) or UNKNOWN
