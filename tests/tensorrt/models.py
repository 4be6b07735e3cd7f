"""Small models with one attention node, and the declarations that go with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from temport.exporter.declare.declaration import Axis, Declaration, TensorSpec

TYPES = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "bfloat16": TensorProto.BFLOAT16}


@dataclass(frozen=True)
class AttentionCase:
    """One `OnlineSoftmaxAttention` node; `dynamic` makes batch and lengths symbolic."""

    batch: int = 2
    query_length: int = 60
    key_length: int = 60
    heads: int = 2
    kv_heads: int = 2
    head_dim: int = 32
    value_dim: int | None = None
    """None where values are as wide as keys."""
    causal: bool = False
    window: int = 0
    query_offset: int = -1
    key_mask: bool = False
    packed: bool = False
    dynamic: bool = False
    element_type: str = "float32"
    scale: float | None = None
    """None for 1/sqrt(head_dim)."""

    def __str__(self) -> str:
        flags = [
            f"T{self.query_length}-S{self.key_length}-H{self.heads}.{self.kv_heads}-D{self.head_dim}",
            *([f"Dv{self.value_dim}"] if self.value_dim else []),
            *([f"s{self.scale}"] if self.scale is not None else []),
            *(["causal"] if self.causal else []),
            *([f"W{self.window}"] if self.window else []),
            *([f"o{self.query_offset}"] if self.query_offset >= 0 else []),
            *(name for name in ("key_mask", "packed", "dynamic") if getattr(self, name)),
            self.element_type,
        ]
        return "-".join(flags)

    @property
    def attributes(self) -> dict[str, Any]:
        return {
            "num_heads": self.heads,
            "kv_num_heads": self.kv_heads,
            "causal": int(self.causal),
            "window": self.window,
            "query_offset": self.query_offset,
            "scale": self.head_dim**-0.5 if self.scale is None else self.scale,
        }

    def inputs(self, seed: int = 0) -> dict[str, np.ndarray]:
        """float32 arrays (and a key mask with one empty row); callers round them to the element type."""
        random = np.random.default_rng(seed)
        q, k = self.heads * self.head_dim, self.kv_heads * self.head_dim
        v = self.kv_heads * (self.value_dim or self.head_dim)

        def normal(length: int, width: int) -> np.ndarray:
            return random.standard_normal((self.batch, length, width), dtype=np.float32)

        if self.packed:
            arrays = {"q": normal(self.query_length, q + k + v)}
        else:
            arrays = {"q": normal(self.query_length, q)}
            arrays |= {"k": normal(self.key_length, k), "v": normal(self.key_length, v)}
        if self.key_mask:
            mask = random.random((self.batch, self.key_length)) < 0.6
            mask[0] = False
            arrays["key_mask"] = mask
        return arrays


def declaration(case: AttentionCase) -> Declaration:
    """The declaration of `attention_model(case)`: symbolic axes reach twice the case's lengths."""

    def axis(name: str, size: int) -> Axis:
        return Axis(name, 1, size, 2 * size) if case.dynamic else Axis(name, size, size, size)

    batch, query, key = (
        axis("batch", case.batch),
        axis("seq", case.query_length),
        axis("memory", case.key_length),
    )
    if case.query_length == case.key_length:
        key = query
    kinds = {"q": query, "k": key, "v": key}
    specs = tuple(
        TensorSpec(name, "bool", (batch, key))
        if name == "key_mask"
        else TensorSpec(name, case.element_type, (batch, kinds[name], array.shape[2]))
        for name, array in case.inputs().items()
    )
    out = TensorSpec("y", case.element_type, (batch, query, case.heads * (case.value_dim or case.head_dim)))
    return Declaration("module", {}, specs, (out,))


def attention_model(case: AttentionCase) -> onnx.ModelProto:
    """One `temport::OnlineSoftmaxAttention` node named `attention`, without a body."""
    spec = declaration(case)

    def info(tensor: TensorSpec) -> onnx.ValueInfoProto:
        kind = TensorProto.BOOL if tensor.dtype == "bool" else TYPES[tensor.dtype]
        return helper.make_tensor_value_info(tensor.name, kind, tensor.onnx_shape())

    names = [name if name in case.inputs() else "" for name in ("q", "k", "v", "key_mask")]
    while not names[-1]:
        names.pop()
    node = helper.make_node(
        "OnlineSoftmaxAttention", names, ["y"], name="attention", domain="temport", **case.attributes
    )
    graph = helper.make_graph([node], "g", [info(s) for s in spec.inputs], [info(s) for s in spec.outputs])
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("temport", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)
