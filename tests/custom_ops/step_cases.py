"""Cases of the ops over a ring of cached frames: their inputs, models of one such node, and full sequences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper

from temport.custom_ops.op import Body, Specialisation
from temport.custom_ops.table import OPS

SOFTMAX, LINEAR = "CachedAttention", "CachedBlockLinearAttention"
LONG = 10**12
"""Frames of a stream that has run for five hundred years."""


@dataclass(frozen=True)
class Step:
    """One frame of streams that have seen `frames` before it; `N` rows, `H` heads of `D` features."""

    op: str
    N: int = 5
    H: int = 2
    D: int = 3
    frames: tuple[int, ...] = (3,)
    feature_map: str = "elu1"
    normalizer: str = "key_sum"
    seed: int = 0

    @property
    def attributes(self) -> dict[str, Any]:
        if self.op == SOFTMAX:
            return {"num_heads": self.H, "scale": float(np.float32(0.4))}
        branch = {"feature_map": self.feature_map, "normalizer": self.normalizer}
        return {"num_heads": self.H, **branch, "eps": float(np.float32(1e-8))}

    def inputs(self, dtype: str = "float64") -> list[np.ndarray]:
        """Features are positive for the identity, so that its divisor stays away from 0."""
        rng = np.random.default_rng(self.seed)
        B, C = len(self.frames), self.H * self.D
        qkv = rng.standard_normal((B, 1, 3 * C))
        caches = rng.standard_normal((2, B, self.N, C))
        sums = rng.standard_normal((3, B, self.H, self.D, self.D + 1))
        if self.op == LINEAR and self.feature_map == "identity":
            qkv[..., : 2 * C] = np.abs(qkv[..., : 2 * C]) + 0.1
        sums[:2, ..., -1] += 9.0
        sums[2] *= 1e-7
        frames = np.array(self.frames, np.int64)[:, None]
        floats = [qkv, *caches, *(sums if self.op == LINEAR else ())]
        return [*(x.astype(dtype) for x in floats), frames]

    def body(self, form: str = "auto", opset: int = 18, dtype: str = "float32") -> Body:
        return OPS[self.op].body(
            Specialisation(
                attributes=self.attributes,
                query_length=1,
                key_length=self.N,
                key_width=self.H * self.D,
                opset=opset,
                form=form,
                element_type=dtype,
            )
        )

    def model(self, inputs: list[np.ndarray], body: Body | None, opset: int = 18) -> onnx.ModelProto:
        """The node with its body attached; the batch is symbolic."""
        schema = OPS[self.op].schema
        names, outputs = [p.name for p in schema.inputs], [p.name for p in schema.outputs]
        infos = [
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(x.dtype), ["batch", *x.shape[1:]]
            )
            for name, x in zip(names, inputs, strict=True)
        ]
        kind = helper.np_dtype_to_tensor_dtype(inputs[0].dtype)
        results = [helper.make_tensor_value_info(name, kind, None) for name in outputs]
        for result, rank in zip(results, (3, 3, 3, 4, 4, 4), strict=False):
            result.CopyFrom(helper.make_tensor_value_info(result.name, kind, ["batch", *[None] * (rank - 1)]))
        node = helper.make_node(self.op, names, outputs, domain="temport", **self.attributes)
        imports = [helper.make_opsetid("", opset), helper.make_opsetid("temport", 1)]
        graph = helper.make_graph([node], "one_node", infos, results)
        functions = [] if body is None else [body.function]
        return helper.make_model(graph, opset_imports=imports, functions=functions, ir_version=10)

    def __str__(self) -> str:
        branch = f"-{self.feature_map}-{self.normalizer}" if self.op == LINEAR else ""
        return f"{self.op}-N{self.N}-H{self.H}-D{self.D}-{'-'.join(map(str, self.frames))}{branch}"


STEPS = [
    Step(op, N, H, D, frames)
    for op in (SOFTMAX, LINEAR)
    for N, H, D, frames in (
        (1, 1, 4, (0,)),
        (1, 2, 3, (7, 0)),
        (2, 3, 1, (1, 2, LONG, 2**63 - 1)),
        (5, 2, 3, (4, 0, 5, LONG + 3)),
        (60, 4, 16, (59, 60, 17)),
    )
] + [
    Step(LINEAR, 4, 2, 5, (3, 9), "identity", "key_sum"),
    Step(LINEAR, 4, 2, 5, (3, 9), "identity", "none"),
    Step(LINEAR, 4, 2, 5, (2, 8), "elu1", "none"),
]
