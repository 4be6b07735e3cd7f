"""Hand the `temport` nodes to plugins whose PTX travels in the engine (`custom_ops/cuda/aot_plugin.py`).

An attention becomes one node, a BlockLinearAttention four: states of the blocks, their sums, the linear part, and the
softmax that adds it. Everything a kernel needs to know is an integer attribute; a float is given by its bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import onnx_ir as ir

from temport.custom_ops.block_linear_attention.attributes import BlockLinearAttributes
from temport.custom_ops.cuda import aot_kernels
from temport.custom_ops.cuda.aot_kernels import AotKernel
from temport.custom_ops.cuda.aot_plugin import NAMESPACE, OPS, VERSION
from temport.custom_ops.cuda.launch_arguments import float_bits
from temport.custom_ops.domain import DOMAIN
from temport.custom_ops.layout import Layout
from temport.custom_ops.online_softmax_attention.attributes import OP_NAME, OnlineSoftmaxAttributes
from temport.exporter.compilers.contract import CompileError
from temport.exporter.compilers.graph_edit import GraphEdit
from temport.exporter.compilers.lower_attention import LoweredAttention
from temport.exporter.compilers.plugin.plugin_node import LONGEST, PluginNode, read_plugin_node

WIDEST_GRID = 65535
"""Thread blocks along the second and third axis of a launch."""


@dataclass
class AotKernels:
    """The kernels of one model; a node's attribute `variant` is an index into it."""

    kernels: list[AotKernel] = field(default_factory=list)

    def index(self, kernel: AotKernel) -> int:
        if kernel not in self.kernels:
            self.kernels.append(kernel)
        return self.kernels.index(kernel)

    def compiled(self) -> list[dict[str, Any]]:
        """As `aot_plugin.register` takes them; raises `CompileError` where nvcc is missing or fails."""
        try:
            return [
                {"entry": k.entry, "ptx": k.ptx(), "rows": k.rows, "threads": k.threads, "shared": k.shared}
                for k in self.kernels
            ]
        except RuntimeError as error:
            raise CompileError(f"the kernels of the engine are not compiled: {error}") from error


def lower_to_aot_plugin(
    model: ir.Model, longest: int | None, largest: int
) -> tuple[list[LoweredAttention], AotKernels]:
    """Replace every `temport` node of `model`, in place; `longest` is the maximum of every dynamic length and
    `largest` that of a dynamic batch.
    """
    kernels = AotKernels()
    lowered = []
    for node in list(model.graph):
        if node.domain == DOMAIN:
            read = read_plugin_node(node)
            batch = read.layout.batch or largest
            if node.op_type == OP_NAME:
                _check_grid(read, "sequences in the batch", batch)
                y = _attention(model.graph, read, kernels)
            else:
                _check_grid(read, "heads in the batch", batch * read.lowered.heads)
                y = _block_linear(model.graph, read, kernels, longest)
            GraphEdit(model.graph, node).replace(node, y)
            lowered.append(read.lowered)
    for identifier in [key for key in model.functions if key[0] == DOMAIN]:
        del model.functions[identifier]
    return lowered, kernels


def _check_grid(read: PluginNode, what: str, count: int) -> None:
    if count > WIDEST_GRID:
        raise CompileError(f"{read.node.name} has {count} {what}; the plugin takes {WIDEST_GRID}")


def _attention(graph: ir.Graph, read: PluginNode, kernels: AotKernels) -> ir.Value:
    a = OnlineSoftmaxAttributes.parse(read.attributes)
    attributes = {
        **_sizes(read.layout, a.num_heads), "kv_num_heads": a.kv_heads, "causal": int(a.causal),
        "window": min(a.window, LONGEST), "first_position": a.query_offset + 1, "block": 0,
        "scale_bits": float_bits(a.scale_for(read.layout.head_dim)),
    }  # fmt: skip
    more = "mask" if read.has_mask else ""
    return _softmax(graph, read, kernels, read.inputs, attributes, more)


def _block_linear(graph: ir.Graph, read: PluginNode, kernels: AotKernels, longest: int | None) -> ir.Value:
    a = BlockLinearAttributes.parse(read.attributes)
    length = read.layout.query_length or longest
    if length is None:
        raise CompileError(f"{read.node.name} has a dynamic length and the declaration gives it no maximum")
    block = min(a.block_size, length)  # a block that no length fills needs no thread blocks for its rest
    _check_grid(read, f"blocks of {block} rows", -(-length // block))
    packed = read.layout.packed
    layout = "packed" if packed else "qkv"
    sizes = _sizes(read.layout, a.num_heads)
    mapped = {**sizes, "block": block, "elu1": int(a.feature_map == "elu1")}
    rule = {"key_sum": int(a.normalizer == "key_sum"), "eps_bits": float_bits(a.eps)}

    def linear(
        entry: str, name: str, inputs: list[ir.Value], given: Mapping[str, int], outputs: int
    ) -> list[ir.Value]:
        kernel = aot_kernels.block_linear(entry, read.element_type, read.layout.head_dim, packed)
        return _node(graph, read, name, inputs, {**given, "variant": kernels.index(kernel)}, outputs, entry)

    own = linear(
        "block_states", f"block_states__{layout}", read.inputs if packed else read.inputs[1:], mapped, 2
    )
    earlier = linear("earlier_blocks", "earlier_blocks", own, sizes, 2)
    part = linear("linear_part", f"linear_part__{layout}", [read.inputs[0], *earlier], {**mapped, **rule}, 1)
    attributes = {
        **sizes, "kv_num_heads": a.num_heads, "causal": 1, "window": 0, "first_position": 1, "block": block,
        "scale_bits": float_bits(a.scale_for(read.layout.head_dim)),
    }  # fmt: skip
    return _softmax(graph, read, kernels, [*read.inputs, *part], attributes, "linear")


def _softmax(
    graph: ir.Graph,
    read: PluginNode,
    kernels: AotKernels,
    inputs: list[ir.Value],
    attributes: dict[str, int],
    more: str,
) -> ir.Value:
    layout = read.layout
    kernel = aot_kernels.attention(read.element_type, layout.head_dim, layout.value_dim, layout.packed, more)
    name = "__".join(("attention", "packed" if layout.packed else "qkv", *([more] if more else [])))
    return _node(graph, read, name, inputs, {**attributes, "variant": kernels.index(kernel)}, 1, None)[0]


def _node(
    graph: ir.Graph, read: PluginNode, name: str, inputs: list[ir.Value], attributes: Mapping[str, int], outputs: int,
    role: str | None,
) -> list[ir.Value]:  # fmt: skip
    """One plugin node in front of the replaced one, under its name, or `its name/role`."""
    op = OPS[name]
    given: dict[str, Any] = {key: attributes[key] for key in op.attributes}
    given |= {"plugin_namespace": NAMESPACE, "plugin_version": VERSION}
    title = read.node.name or ""
    node = ir.Node(
        NAMESPACE, name, inputs, ir.convenience.convert_attributes(given), num_outputs=outputs,
        name=f"{title}/{role}" if role else title,
    )  # fmt: skip
    for index, value in enumerate(node.outputs):
        value.name = f"{title}/{role or 'y'}_{index}"
    graph.insert_before(read.node, node)
    return list(node.outputs)


def _sizes(layout: Layout, heads: int) -> dict[str, int]:
    return {"num_heads": heads, "head_dim": layout.head_dim, "value_dim": layout.value_dim}
