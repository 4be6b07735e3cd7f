"""ONNX Runtime on the CPU with the native op library registered: the same file, our kernels."""

from __future__ import annotations

from dataclasses import replace

from temport.custom_ops.library import library_path
from temport.exporter.errors import UserError
from temport.exporter.runtimes.contract import Capabilities
from temport.exporter.runtimes.native_kernels import bodies_run, custom_nodes, native_path
from temport.exporter.runtimes.onnxruntime_cpu import CAPABILITIES, OrtSession
from temport.exporter.runtimes.onnxruntime_cpu import RUNTIME as PLAIN
from temport.exporter.runtimes.subject import Subject


class OnnxRuntimeNative:
    """With the library registered ORT prefers its kernels to the bodies; a node that it has none for is named."""

    name = "onnxruntime_native"
    capabilities: Capabilities = replace(CAPABILITIES, custom_domain=True, threads=True)

    def unavailable(self) -> str | None:
        if reason := PLAIN.unavailable():
            return reason
        try:
            return None if library_path() else "the native op library was not built with this installation"
        except ValueError as error:
            return str(error)

    def open(self, subject: Subject, threads: int = 1) -> OrtSession:
        library = library_path()
        assert library is not None, "unavailable() has to be asked first"
        nodes = custom_nodes(subject.model_path)
        if not nodes:
            raise UserError("the model has no custom ops, so onnxruntime_cpu says the same")
        path, kernels = native_path(nodes, library), not bodies_run(nodes, library)
        return OrtSession(
            subject.model_path, path, threads, library, kernels=kernels, fp8=subject.declaration.of_fp8
        )


RUNTIME = OnnxRuntimeNative()
