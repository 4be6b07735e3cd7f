"""Models of one custom node with its body, and the runtimes that run them; inputs drawn for a case."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx.inliner
import onnxruntime
from onnx import helper
from onnx.reference import ReferenceEvaluator

from temport.custom_ops.op import Body, Specialisation
from temport.custom_ops.table import OPS

NAMES = ("Q", "K", "V", "key_mask")
EPS = {"float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7, "float64": 2.0**-52}


@dataclass(frozen=True)
class Attention:
    """One case of OnlineSoftmaxAttention: sizes, attributes and how the inputs are given."""

    T: int
    S: int
    heads: int = 2
    groups: int = 1
    D: int = 4
    Dv: int = 4
    causal: bool = False
    window: int = 0
    query_offset: int = -1
    packed: bool = False
    key_mask: bool = False
    batch: int = 2
    magnitude: float = 1.0
    seed: int = 0

    @property
    def attributes(self) -> dict[str, Any]:
        return {
            "num_heads": self.heads * self.groups,
            "kv_num_heads": self.heads,
            "causal": int(self.causal),
            "window": self.window,
            "query_offset": self.query_offset,
            "scale": float(np.float32(self.D**-0.5)),
        }

    @property
    def keys(self) -> int:
        return self.T if self.packed else self.S

    def inputs(self, dtype: str = "float32") -> list[np.ndarray | None]:
        """Q, K, V, key_mask; the first row of a key_mask excludes every key."""
        rng = np.random.default_rng(self.seed)
        H, kv = self.heads * self.groups, self.heads

        def draw(*shape: int) -> np.ndarray:
            return (self.magnitude * rng.standard_normal(shape)).astype(dtype)

        mask = None
        if self.key_mask:
            mask = rng.random((self.batch, self.keys)) > 0.5
            mask[0] = False
        if self.packed:
            return [draw(self.batch, self.T, (H + 2 * kv) * self.D), None, None, mask]
        q, k = draw(self.batch, self.T, H * self.D), draw(self.batch, self.S, kv * self.D)
        return [q, k, draw(self.batch, self.S, kv * self.Dv), mask]

    def __str__(self) -> str:
        rule = f"window{self.window}" if self.window else "causal" if self.causal else "full"
        parts = [f"T{self.T}-S{self.keys}-H{self.heads * self.groups}", rule]
        parts += [f"offset{self.query_offset}"] if self.query_offset >= 0 else []
        parts += [word for word, on in (("packed", self.packed), ("key_mask", self.key_mask)) if on]
        parts += [f"groups{self.groups}"] if self.groups > 1 else []
        return "-".join(parts)


def model(
    op: str,
    attributes: dict[str, Any],
    inputs: list[np.ndarray | None],
    body: Body | None,
    *,
    opset: int,
    outputs: str = "Y",
) -> onnx.ModelProto:
    """One node whose batch and lengths are symbolic, with its body attached."""
    given = [(name, x) for name, x in zip(NAMES, inputs, strict=False) if x is not None]
    present = {name for name, _ in given}
    names = [name if name in present else "" for name in NAMES[: len(inputs)]]
    while not names[-1]:
        names.pop()
    infos = [
        helper.make_tensor_value_info(
            name,
            helper.np_dtype_to_tensor_dtype(x.dtype),
            ["batch", f"length_{name}", *x.shape[2:]],
        )
        for name, x in given
    ]
    kind = helper.np_dtype_to_tensor_dtype(given[0][1].dtype)
    output = helper.make_tensor_value_info(outputs, kind, ["batch", "length_Q", None])
    node = helper.make_node(op, names, [outputs], domain="temport", **attributes)
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("temport", 1)]
    graph = helper.make_graph([node], "one_node", infos, [output])
    functions = [] if body is None else [body.function]
    return helper.make_model(graph, opset_imports=imports, functions=functions, ir_version=10)


def build(case: Attention, form: str, *, opset: int = 18, fixed: bool = True, dtype: str = "float32") -> Body:
    """The body for a case, with its own lengths fixed or dynamic up to 160."""
    return OPS["OnlineSoftmaxAttention"].body(
        Specialisation(
            attributes=case.attributes,
            query_length=case.T if fixed else None,
            key_length=case.keys if fixed else None,
            max_length=160,
            packed=case.packed,
            has_key_mask=case.key_mask,
            opset=opset,
            form=form,
            element_type=dtype,
        )
    )


def feeds(proto: onnx.ModelProto, inputs: list[np.ndarray | None]) -> dict[str, np.ndarray]:
    """The inputs that there are by name; the graph lists them in the order of the op."""
    given = [x for x in inputs if x is not None]
    return {info.name: x for info, x in zip(proto.graph.input, given, strict=True)}


def run_onnxruntime(proto: onnx.ModelProto, inputs: list[np.ndarray | None]) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, feeds(proto, inputs))[0]


def run_reference_evaluator(proto: onnx.ModelProto, inputs: list[np.ndarray | None]) -> np.ndarray:
    inlined = onnx.inliner.inline_local_functions(proto)
    return ReferenceEvaluator(inlined).run(None, feeds(proto, inputs))[0]


def run_openvino(proto: onnx.ModelProto, inputs: list[np.ndarray | None]) -> np.ndarray:
    import openvino

    inlined = onnx.inliner.inline_local_functions(proto)
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(inlined.SerializeToString(), b""), "CPU", settings)
    return compiled(feeds(proto, inputs))[0]


RUNTIMES = {
    "onnxruntime": run_onnxruntime,
    "reference_evaluator": run_reference_evaluator,
    "openvino": run_openvino,
}


def bound(truth: np.ndarray, own: np.ndarray, dtype: str) -> float:
    """Twice torch's own error in that dtype, plus 4 units in the last place of the largest output."""
    own_error = float(np.max(np.abs(own.astype(np.float64) - truth), initial=0.0))
    return 2 * own_error + 4 * EPS[dtype] * max(1.0, float(np.max(np.abs(truth), initial=0.0)))


def error(output: np.ndarray, truth: np.ndarray) -> float:
    """Largest absolute difference; a NaN counts as infinite."""
    difference = np.abs(output.astype(np.float64) - truth)
    return float(np.max(np.where(np.isnan(difference), np.inf, difference), initial=0.0))
