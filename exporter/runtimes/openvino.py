"""OpenVINO on the CPU: it does not inline model-local functions, so they are inlined first.

Its CPU plugin takes the modulus of integers in float32, so a stream in it is right for 2^24 frames.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import onnx

from temport.exporter.declare.values import INTEGERS
from temport.exporter.runtimes.bound import openvino_call
from temport.exporter.runtimes.contract import Arrays, Call, Capabilities, Closing, named
from temport.exporter.runtimes.prepare import custom_path, prepare
from temport.exporter.runtimes.subject import Subject

SETTINGS = {
    "INFERENCE_PRECISION_HINT": "f32",
    "SNIPPETS_MODE": "DISABLE",
    "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
}
"""Without the first OpenVINO computes in bf16 on processors that have it, whatever the graph says.

Snippets: on one thread it compiles a residual branch of at most 8 rows and 256 features (a small step model) to one
generated kernel, and 2026.4 crashes over it. Without them it does not fuse attention either, so a benchmark compiles
with them.

The last: by default it rounds the activations that compressed weights meet to int8, in groups of 32, and is off by a
part in a hundred.
"""


class OpenVinoSession(Closing):
    def __init__(self, model: onnx.ModelProto, path: str, threads: int) -> None:
        import openvino as ov

        core, settings = ov.Core(), {**SETTINGS, "INFERENCE_NUM_THREADS": threads}
        compiled: Any = core.compile_model(core.read_model(model.SerializeToString()), "CPU", settings)
        self.request: Any = compiled.create_infer_request()
        self.names = [output.name for output in model.graph.output]
        self.path, self.version = f"{path}, f32", f"openvino {ov.get_version()}"

    def run(self, inputs: Arrays) -> Arrays:
        # On one thread `infer` of 2026.4 says nothing of an error and leaves the output of the run before.
        self.request.start_async(inputs, share_inputs=False)
        self.request.wait()
        results = [self.request.get_output_tensor(i).data.copy() for i in range(len(self.names))]
        return named(results, self.names)

    def prepared(self, inputs: Arrays) -> Call:
        return openvino_call(self.request, inputs)


def _unpack_once(graph: onnx.GraphProto) -> None:
    """In place: a weight that several bodies unpack is unpacked by the first. 2026.4 blocks the scales that two
    `DequantizeLinear` share twice, and then does not compile.
    """
    first: dict[bytes, str] = {}
    same: dict[str, str] = {}
    kept = []
    for node in graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = same.get(name, name)
        if node.op_type == "DequantizeLinear":
            nameless = onnx.NodeProto(op_type=node.op_type, input=node.input, attribute=node.attribute)
            known = first.setdefault(nameless.SerializeToString(deterministic=True), node.output[0])
            if known != node.output[0]:
                same[node.output[0]] = known
                continue
        kept.append(node)
    if same:
        del graph.node[:]
        graph.node.extend(kept)


class OpenVino:
    name = "openvino"
    capabilities = Capabilities(
        custom_domain=False,
        functions=False,
        opsets=(7, 24),
        dtypes=frozenset({"bool", "float16", "float32", *INTEGERS}),
        dynamic_axes=True,
        intermediates=True,
        fp8=True,
        rounds=frozenset({"int8"}),
    )

    def unavailable(self) -> str | None:
        if importlib.util.find_spec("openvino"):
            return None
        return "openvino is not installed; pip install 'temport[openvino]'"

    def open(self, subject: Subject, threads: int = 1) -> OpenVinoSession:
        path = custom_path(onnx.load(subject.model_path, load_external_data=False), "inlined body")
        model = prepare(subject.model_path, self.capabilities)
        _unpack_once(model.graph)
        return OpenVinoSession(model, path, threads)


RUNTIME = OpenVino()
