"""Refuse before the build what TensorRT would silently ignore, silently change, or refuse with a riddle.

Every finding is one sentence: what is there, what TensorRT would do with it, what to do instead.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence

import onnx_ir as ir

from temport.custom_ops.domain import DOMAIN
from temport.custom_ops.online_softmax_attention.attributes import OP_NAME
from temport.exporter.compilers.contract import Backend
from temport.exporter.declare.declaration import Declaration
from temport.exporter.graph.standard_operator import is_standard

_LACKS = {"BFLOAT16": ("75",), "INT4": ("75",), "FLOAT8E4M3FN": ("75", "80", "86")}
"""Element types, and the compute capabilities that have none of them."""
_LOOPS = {"Loop", "Scan", "LSTM", "GRU", "RNN"}


def refusals(
    model: ir.Model, declaration: Declaration, backend: Backend, targets: tuple[str, ...]
) -> list[str]:
    """Why `model` must not be given to `backend`; empty when it may."""
    return list(
        dict.fromkeys(
            [
                *_opset(model, backend),
                *_types(model, backend, targets),
                *_dynamic_axes(model, declaration),
                *(sentence for node in _nodes(model) for sentence in _node(node, model, backend)),
            ]
        )
    )


def remarks(model: ir.Model) -> list[str]:
    """What TensorRT takes and a user may still want to know."""
    loops = sorted({node.op_type for node in _nodes(model) if node.op_type in _LOOPS})
    return [
        f"{kind} is compiled as a loop of small kernels: its time grows with the sequence" for kind in loops
    ]


def _nodes(model: ir.Model) -> Iterator[ir.Node]:
    yield from model.graph.all_nodes()
    for function in model.functions.values():
        yield from function.all_nodes()


def _opset(model: ir.Model, backend: Backend) -> Iterator[str]:
    first, last = backend.opsets
    opset = model.opset_imports.get("", last)
    if not first <= opset <= last:
        yield f"the model has opset {opset}; {backend.name} reads {first} to {last}: export with --opset 20"


def _types(model: ir.Model, backend: Backend, targets: tuple[str, ...]) -> Iterator[str]:
    found: dict[str, str] = {}
    for name, kind in _element_types(model):
        found.setdefault(kind.name, name)
    if "DOUBLE" in found:
        yield (
            f"tensor {found.pop('DOUBLE')} is float64, which {backend.name} silently makes float32; "
            "export the model in float32"
        )
    for element_type, name in found.items():
        if element_type not in backend.element_types and element_type not in ("STRING", "UNDEFINED"):
            yield f"tensor {name} is {element_type.lower()}, which {backend.name} does not take"
    for element_type, lacking in _lacking(found, targets):
        yield (
            f"tensor {found[element_type]} is {element_type.lower()}, which compute capability {_numbers(lacking)} "
            f"lacks; leave {', '.join(lacking)} out of --compute-capability, or use another type"
        )


def unfit_targets(model: ir.Model, targets: tuple[str, ...]) -> Iterator[str]:
    """A sentence on the compute capabilities that an engine names, though a type in it is one that they lack."""
    types = {kind.name for _, kind in _element_types(model)}
    for element_type, lacking in _lacking(types, targets):
        yield (
            f"the engine names compute capability {_numbers(lacking)}, which has no {element_type.lower()}; for an "
            "engine of those alone that have it give --compute-capability"
        )


def _lacking(types: Container[str], targets: tuple[str, ...]) -> Iterator[tuple[str, list[str]]]:
    """Each of the types that some of the targets lack, and those targets."""
    for element_type, without in _LACKS.items():
        if element_type in types and (lacking := [target for target in targets if target in without]):
            yield element_type, lacking


def _numbers(targets: Sequence[str]) -> str:
    """`86, 89` as `8.6, 8.9`."""
    return ", ".join(f"{target[:-1]}.{target[-1]}" for target in targets)


def _element_types(model: ir.Model) -> Iterator[tuple[str, ir.DataType]]:
    for value in (*model.graph.inputs, *model.graph.initializers.values()):
        if value.dtype is not None:
            yield value.name or "", value.dtype
    for node in _nodes(model):
        for value in node.outputs:
            if value.dtype is not None:
                yield value.name or "", value.dtype
        name = node.outputs[0].name or "" if node.outputs else ""
        if node.op_type == "Cast":
            yield name, ir.DataType(node.attributes["to"].as_int())
        if node.op_type == "Constant" and "value" in node.attributes:
            attribute = node.attributes["value"]
            if not attribute.is_ref():
                yield name, attribute.as_tensor().dtype


def _dynamic_axes(model: ir.Model, declaration: Declaration) -> Iterator[str]:
    declared = {spec.name for spec in declaration.inputs}
    for value in model.graph.inputs:
        dynamic = value.shape is None or any(not isinstance(d, int) for d in value.shape)
        if dynamic and value.name not in declared:
            yield f"input {value.name} has a dynamic axis and the declaration gives it no bounds; declare it"


def _node(node: ir.Node, model: ir.Model, backend: Backend) -> Iterator[str]:
    if not is_standard(node):
        lowered = node.domain == DOMAIN and node.op_type == OP_NAME
        if not lowered and node.op_identifier() not in model.functions:
            op = f"{node.domain}::{node.op_type}"
            yield f"node {node.name} is {op}, which has no function body in the file; export it with its body"
        return
    if node.op_type in backend.refused_ops:
        instead = backend.refused_ops[node.op_type]
        yield f"{node.op_type} ({node.name}) is refused by {backend.name}: {instead}"
    if node.op_type == "ScatterND" and _text(node, "reduction") not in ("", "none"):
        yield f"ScatterND ({node.name}) with a reduction is refused by {backend.name}; write it without one"
    if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
        yield from _quantising(node, backend)
    if node.op_type == "Attention":
        yield from _attention(node, backend)


def _quantising(node: ir.Node, backend: Backend) -> Iterator[str]:
    """A zero point that is not known to be 0 counts as another."""
    where, symmetric = f"{node.op_type} {node.name}", "quantise symmetrically, to int8"
    zero = node.inputs[2] if len(node.inputs) > 2 else None
    if zero is not None and (zero.const_value is None or zero.const_value.numpy().any()):
        yield (
            f"{where} has a zero point other than 0, which {backend.name} refuses; {symmetric} (onnxruntime's "
            "quantizer: ActivationSymmetric and WeightSymmetric)"
        )
    elif _integers(node, zero) == ir.DataType.UINT8:
        yield f"{where} is of uint8, which {backend.name} silently makes int8, of another range; {symmetric}"


def _integers(node: ir.Node, zero: ir.Value | None) -> ir.DataType | None:
    """What a node quantises to or from, as ONNX defines it; None where the file does not say it."""
    if node.op_type == "DequantizeLinear":
        return None if node.inputs[0] is None else node.inputs[0].dtype
    if zero is not None:
        return zero.dtype
    return ir.DataType(node.attributes.get_int("output_dtype", ir.DataType.UINT8.value))


def _attention(node: ir.Node, backend: Backend) -> Iterator[str]:
    where = f"Attention {node.name}"
    inputs = [*node.inputs, *[None] * 7]
    if inputs[6] is not None:
        yield (
            f"{where} has nonpad_kv_seqlen, which {backend.name} silently ignores; "
            "give it an attn_mask that excludes the padding instead"
        )
    if len(node.outputs) > 1 and any(out.name and out.uses() for out in node.outputs[1:]):
        yield f"{where} returns more than its result, which {backend.name} refuses; keep the cache outside"
    for name in ("softcap", "softmax_precision"):
        attribute = node.attributes.get(name)
        if attribute is not None and attribute.value:
            yield f"{where} has {name}, which {backend.name} refuses; write it as MatMul and Softmax"
    causal = node.attributes.get("is_causal")
    mask = inputs[3]
    if causal is not None and causal.value and mask is not None and mask.dtype == ir.DataType.BOOL:
        yield (
            f"{where} has is_causal and a boolean mask, which {backend.name} refuses together; "
            "let the mask contain the causal rule"
        )


def _text(node: ir.Node, name: str) -> str:
    attribute = node.attributes.get(name)
    return "" if attribute is None else str(attribute.value)
