"""ONNX Runtime on the CPU, running the function bodies that the file carries."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx

from temport.exporter.declare.values import INTEGERS
from temport.exporter.runtimes.bound import held_in_place, onnxruntime_call
from temport.exporter.runtimes.contract import EVERY_ROUNDING, Arrays, Call, Capabilities, Closing, named
from temport.exporter.runtimes.external_values import external_values
from temport.exporter.runtimes.prepare import custom_path
from temport.exporter.runtimes.subject import Subject

CAPABILITIES = Capabilities(
    custom_domain=False,
    functions=True,
    opsets=(7, 25),
    dtypes=frozenset({"bool", "float16", "float32", "float64", *INTEGERS}),
    dynamic_axes=True,
    intermediates=True,
    fp8=True,
    rounds=EVERY_ROUNDING,
)
DISABLED_OPTIMIZERS = ["SkipLayerNormFusion"]
"""ORT's fused residual + LayerNorm CPU kernel is about ten times slower than LayerNormalization alone."""
OF_FP8 = ["QDQSelectorActionTransformer"]
"""It makes kernels of int8 of products of fp8, and then refuses the model."""


LEVEL = "session.qdq_matmulnbits_accuracy_level"
CONFIG = {LEVEL: "1"}
"""ORT makes one kernel of DequantizeLinear and MatMul, which by default (level 4) rounds the activations to int8 and is
off by a part in a hundred; at level 1 it computes what the file says, in float32."""


def session_options(
    threads: int, library: Path | None = None, config: Mapping[str, str] | None = None
) -> Any:
    """Quiet `SessionOptions` for that many threads in all, with the op library registered where one is given.

    config  entries of the session's configuration, in place of `CONFIG`
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    for key, value in (CONFIG if config is None else config).items():
        options.add_session_config_entry(key, value)
    if library is not None:
        options.register_custom_ops_library(str(library))
    return options


class OrtSession(Closing):
    """A model as it is; `library` is an op library to register first, None leaves the bodies to run.

    model    its file, or its content with the `weights` that lie beside it, by name: then no file is opened
    kernels  whether every custom node has a native one, so that `prepared` lets them hold states in place
    fp8      whether weights are stored in it
    """

    def __init__(
        self,
        model: Path | bytes,
        path: str,
        threads: int,
        library: Path | None = None,
        weights: Mapping[str, bytes] | None = None,
        *,
        kernels: bool = False,
        fp8: bool = False,
    ) -> None:
        import onnxruntime as ort

        options = session_options(threads, library)
        if weights and isinstance(model, bytes):
            options.add_external_initializers(*external_values(model, weights))
        self.session: Any = ort.InferenceSession(
            model,
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=[*DISABLED_OPTIMIZERS, *(OF_FP8 if fp8 else ())],
        )
        self.path, self.version, self._kernels = path, f"onnxruntime {ort.__version__}", kernels
        self.names = [output.name for output in self.session.get_outputs()]

    def run(self, inputs: Arrays) -> Arrays:
        return named(self.session.run(self.names, inputs), self.names)

    def prepared(self, inputs: Arrays) -> Call:
        """States that native kernels hold in place are the arrays of the inputs."""
        return onnxruntime_call(self.session, inputs, held_in_place(self.session) if self._kernels else None)


class OnnxRuntimeCpu:
    name = "onnxruntime_cpu"
    capabilities = CAPABILITIES

    def unavailable(self) -> str | None:
        return None if importlib.util.find_spec("onnxruntime") else "onnxruntime is not installed"

    def open(self, subject: Subject, threads: int = 1) -> OrtSession:
        model = onnx.load(subject.model_path, load_external_data=False)
        path = custom_path(model, "function body")
        return OrtSession(subject.model_path, path, threads, fp8=subject.declaration.of_fp8)


RUNTIME = OnnxRuntimeCpu()
