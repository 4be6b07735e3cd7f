"""Which tensors a half type could not hold: measured on the float32 model with the very inputs of the
parity check."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort

from temport.exporter.declare.declaration import HALF

LARGEST = {name: float(ml_dtypes.finfo(name).max) for name in HALF}
"""Largest finite value of each half type."""


@dataclass(frozen=True)
class Overflow:
    """A tensor that exceeds the half type: where it is made, how large it gets, in which case."""

    tensor: str
    node: str
    op: str
    largest: float
    case: str

    def __str__(self) -> str:
        return f"{self.tensor} ({self.op} {self.node}) reaches {self.largest:.3g} in case {self.case}"


def find_overflow(
    float32_model: onnx.ModelProto,
    exported: ir.Model,
    tensors: Collection[str],
    cases: Mapping[str, Mapping[str, np.ndarray]],
    precision: str,
) -> list[Overflow]:
    """The `tensors` (names in the float32 model) that some case drives beyond `precision`, worst case each.

    The float32 model runs in ONNX Runtime with those tensors as outputs, without graph optimisation, so that
    every one of them exists. The node that is told is the one of the `exported` model: in the other an attention's
    result is made by the last of the operators that spell it out.
    """
    producers = {name: node for node in float32_model.graph.node for name in node.output}
    told = {v.name: node for node in exported.graph for v in node.outputs}
    watched = sorted(set(tensors) & set(producers))
    if not watched:  # ONNX Runtime takes no names for all outputs
        return []
    exposed = onnx.ModelProto()
    exposed.CopyFrom(float32_model)
    known = {output.name for output in exposed.graph.output}
    exposed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in watched if name not in known)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(exposed.SerializeToString(), options, providers=["CPUExecutionProvider"])
    worst: dict[str, Overflow] = {}
    for case, feeds in cases.items():
        given = {name: _fed(array) for name, array in feeds.items()}
        for name, result in zip(watched, session.run_with_ort_values(watched, given), strict=True):
            value = result.numpy()
            # an infinity is one in every type: the -inf of a mask is no overflow
            held = np.where(np.isinf(value), 0, np.where(np.isnan(value), np.inf, value))
            largest = float(np.abs(held).max(initial=0.0))
            if largest > LARGEST[precision] and (name not in worst or largest > worst[name].largest):
                node = told.get(name, producers[name])
                worst[name] = Overflow(name, node.name or "", node.op_type, largest, case)
    return list(worst.values())


def _fed(array: np.ndarray) -> ort.OrtValue:
    """ONNX Runtime takes an input of bfloat16 as its bits alone."""
    if array.dtype != ml_dtypes.bfloat16:
        return ort.OrtValue.ortvalue_from_numpy(array)
    bits = np.ascontiguousarray(array).view(np.uint16)
    return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(bits, onnx.TensorProto.BFLOAT16)
