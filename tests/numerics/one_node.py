"""One node in ONNX Runtime with the op library, in any element type, from and to float32 arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnx import TensorProto, helper

from temport.custom_ops.library import library_path
from temport.custom_ops.table import OPS

Array = npt.NDArray[Any]
Session = onnxruntime.InferenceSession
KINDS = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "bfloat16": TensorProto.BFLOAT16}
EPS = {"float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}


@dataclass(frozen=True)
class Node:
    """`inputs` by the schema's names, absent ones left out; float32 values that every element type holds exactly."""

    op: str
    inputs: Mapping[str, Array]
    attributes: Mapping[str, Any]

    def truth(self) -> list[Array]:
        """The outputs in float64."""
        names = [p.name for p in OPS[self.op].schema.inputs]
        outputs = OPS[self.op].reference([self.inputs.get(name) for name in names], self.attributes)
        return list(outputs) if isinstance(outputs, tuple) else [outputs]

    def model(self, dtype: str = "float32") -> bytes:
        """Casts stand around the node where its type is a half one."""
        schema, half = OPS[self.op].schema, dtype != "float32"
        low = {n: f"{n}_low" if half and x.dtype == np.float32 else n for n, x in self.inputs.items()}
        results = [p.name for p in schema.outputs]
        nodes = [helper.make_node("Cast", [n], [m], to=KINDS[dtype]) for n, m in low.items() if n != m]
        outputs = [f"{n}_low" if half else n for n in results]
        names = [low.get(p.name, "") for p in schema.inputs]
        nodes.append(helper.make_node(self.op, names, outputs, "node", domain="temport", **self.attributes))
        nodes += [helper.make_node("Cast", [f"{n}_low"], [n], to=TensorProto.FLOAT) for n in results if half]
        kinds = {n: helper.np_dtype_to_tensor_dtype(x.dtype) for n, x in self.inputs.items()}
        graph = helper.make_graph(
            nodes,
            "one_node",
            [helper.make_tensor_value_info(n, kinds[n], x.shape) for n, x in self.inputs.items()],
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in results],
        )
        opsets = [helper.make_opsetid("", 18), helper.make_opsetid("temport", 1)]
        return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString())

    def session(self, dtype: str = "float32", threads: int = 1) -> Session:
        """The library must be built."""
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = threads
        settings.log_severity_level = 4
        path = library_path()
        assert path is not None, "the native op library is not built"
        settings.register_custom_ops_library(str(path))
        return Session(self.model(dtype), settings, providers=["CPUExecutionProvider"])

    def run(self, dtype: str = "float32", threads: int = 1) -> list[Array]:
        """The outputs of the native kernel."""
        return self.session(dtype, threads).run(None, dict(self.inputs))
