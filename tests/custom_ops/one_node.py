"""Models of one custom node, with the native kernel or with a body, and the runtimes that run them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx.inliner
import onnx_ir as ir
import onnxruntime
from case import Array, Case, OpCases
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from temport.custom_ops.library import library_path
from temport.custom_ops.op import Body, Host
from tests.first_domain import first_domain

NODE = "layer_7"
LONGEST = 720
"""What masks of models at open lengths are baked to."""
ONNX = {"float16": TensorProto.FLOAT16, "bfloat16": TensorProto.BFLOAT16}


def model(
    table: OpCases,
    case: Case,
    *,
    dtype: str = "float32",
    opset: int = 20,
    shapes: Mapping[str, Sequence[Any]] | None = None,
    constants: Collection[str] = (),
    outputs: Collection[str] | None = None,
) -> onnx.ModelProto:
    """The node alone. Half types stand between Casts from and to float32, of which numpy has all.

    `shapes` replaces those of the inputs; `constants` names inputs that are initialisers.
    """
    half = dtype in ONNX
    inner = {n: f"{n}_{dtype}" if half and x.dtype == np.float32 else n for n, x in case.inputs.items()}
    kinds = {n: helper.np_dtype_to_tensor_dtype(x.dtype) for n, x in case.inputs.items()}
    sizes = {n: (shapes or {}).get(n, x.shape) for n, x in case.inputs.items()}
    names = [inner.get(name, "") for name in table.inputs]
    while len(names) > 1 and not names[-1]:
        names.pop()
    outputs = table.outputs if outputs is None else list(outputs)
    results = [f"{name}_{dtype}" if half else name for name in outputs]
    casts = [helper.make_node("Cast", [n], [m], to=ONNX[dtype]) for n, m in inner.items() if n != m]
    node = helper.make_node(table.op.name, names, results, NODE, domain=table.op.domain, **case.attributes)
    back = [
        helper.make_node("Cast", [m], [n], to=TensorProto.FLOAT)
        for m, n in zip(results, outputs, strict=True)
        if half
    ]
    types = {p.name: p.type_str for p in (*table.op.schema.inputs, *table.op.schema.outputs)}
    like = {types[name]: kind for name, kind in kinds.items()}
    like["T"] = (
        TensorProto.DOUBLE if any(x.dtype == np.float64 for x in case.inputs.values()) else TensorProto.FLOAT
    )
    graph = helper.make_graph(
        [*casts, node, *back],
        "one_node",
        [helper.make_tensor_value_info(n, kinds[n], sizes[n]) for n in case.inputs if n not in constants],
        [helper.make_tensor_value_info(n, like.get(types.get(n, "T"), like["T"]), None) for n in outputs],
        [numpy_helper.from_array(x, n) for n, x in case.inputs.items() if n in constants],
        value_info=[
            helper.make_tensor_value_info(m, ONNX[dtype], sizes[n]) for n, m in inner.items() if n != m
        ],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid(table.op.domain, table.op.version)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def open_shapes(table: OpCases, case: Case) -> dict[str, Sequence[int | str]]:
    """Of a model that serves any batch and length."""
    return {name: table.open_shape(name, x.shape) for name, x in case.inputs.items()}


def body_of(table: OpCases, proto: onnx.ModelProto, form: str = "auto", dtype: str = "float32") -> Body:
    """The body for the node of the model."""
    node = next(node for node in ir.from_proto(proto).graph if node.domain == table.op.domain)
    (standard,) = (opset.version for opset in proto.opset_import if not opset.domain)
    host = Host(opset=standard, element_type=dtype, max_length=LONGEST, form=form)
    return table.op.body_of(node, host)


def body_model(
    table: OpCases,
    case: Case,
    form: str = "auto",
    *,
    dtype: str = "float32",
    open_: bool = False,
    **options: Any,
) -> onnx.ModelProto:
    """The node with its body attached."""
    shapes = open_shapes(table, case) if open_ else None
    proto = model(table, case, dtype=dtype, shapes=shapes, **options)
    proto.functions.append(body_of(table, proto, form, dtype).function)
    return proto


def session_options(threads: int = 1) -> onnxruntime.SessionOptions:
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.log_severity_level = 4
    return settings


def native_options(threads: int = 1) -> onnxruntime.SessionOptions:
    """With the op library; a checkout or an install without it is an error, not a reason to skip."""
    path = library_path()
    assert path is not None, (
        "the native op library is not built: pip install ., or cmake --preset default && "
        "cmake --build --preset default in custom_ops/native"
    )
    settings = session_options(threads)
    settings.register_custom_ops_library(first_domain())
    return settings


def session(proto: onnx.ModelProto, options: onnxruntime.SessionOptions) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def native_session(
    table: OpCases, case: Case, threads: int = 1, **options: Any
) -> onnxruntime.InferenceSession:
    return session(model(table, case, **options), native_options(threads))


def native(table: OpCases, case: Case, threads: int = 1, **options: Any) -> dict[str, Array]:
    """What the kernel computes, by output; the options are those of `model`."""
    return run_session(native_session(table, case, threads, **options), case)


def run_session(runner: onnxruntime.InferenceSession, case: Case) -> dict[str, Array]:
    feed = {i.name: case.inputs[i.name] for i in runner.get_inputs()}
    return dict(zip((o.name for o in runner.get_outputs()), runner.run(None, feed), strict=True))


def bound_native(
    table: OpCases, case: Case, places: Mapping[str, onnxruntime.OrtValue | str], threads: int = 1
) -> dict[str, Array]:
    """The kernel's outputs where `places` binds some to memory: a value, or the input of that name."""
    runner = native_session(table, case, threads)
    binding = runner.io_binding()
    held = {n: onnxruntime.OrtValue.ortvalue_from_numpy(x.copy()) for n, x in case.inputs.items()}
    for name, value in held.items():
        binding.bind_ortvalue_input(name, value)
    for name in table.outputs:
        place = places.get(name)
        if place is None:
            binding.bind_output(name)
        else:
            binding.bind_ortvalue_output(name, held[place] if isinstance(place, str) else place)
    runner.run_with_iobinding(binding)
    return dict(zip(table.outputs, binding.copy_outputs_to_cpu(), strict=True))


def in_onnxruntime(proto: onnx.ModelProto, case: Case) -> dict[str, Array]:
    return run_session(session(proto, session_options()), case)


def in_reference_evaluator(proto: onnx.ModelProto, case: Case) -> dict[str, Array]:
    evaluator = ReferenceEvaluator(onnx.inliner.inline_local_functions(proto))
    names = [o.name for o in proto.graph.output]
    feed = {i.name: case.inputs[i.name] for i in proto.graph.input}
    return dict(zip(names, evaluator.run(None, feed), strict=True))


def in_openvino(proto: onnx.ModelProto, case: Case) -> dict[str, Array]:
    import openvino

    inlined = onnx.inliner.inline_local_functions(proto)
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(inlined.SerializeToString(), b""), "CPU", settings)
    results = compiled({i.name: case.inputs[i.name] for i in proto.graph.input})
    return {o.name: results[i] for i, o in enumerate(proto.graph.output)}


RUNTIMES = {
    "onnxruntime": in_onnxruntime,
    "reference_evaluator": in_reference_evaluator,
    "openvino": in_openvino,
}
