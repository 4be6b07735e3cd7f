"""ONNX Runtime on the CPU with the native op library registered: the same file, our kernels."""

from __future__ import annotations

from dataclasses import replace

import onnx

from temport.custom_ops.library import library_description, library_path
from temport.exporter.errors import UserError
from temport.exporter.runtimes.contract import Capabilities
from temport.exporter.runtimes.onnxruntime_cpu import CAPABILITIES, OrtSession
from temport.exporter.runtimes.onnxruntime_cpu import RUNTIME as PLAIN
from temport.exporter.runtimes.op_reference import has_custom_ops
from temport.exporter.runtimes.subject import Subject


class OnnxRuntimeNative:
    """With the library registered ORT prefers its kernels to the bodies, so a body cannot stand in unseen."""

    name = "onnxruntime_native"
    capabilities: Capabilities = replace(CAPABILITIES, custom_domain=True)

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
        model = onnx.load(subject.model_path, load_external_data=False)
        if not has_custom_ops(model):
            raise UserError("the model has no custom ops, so onnxruntime_cpu says the same")
        return OrtSession(
            subject.model_path, f"native kernels {library_description(library)}", threads, library
        )


RUNTIME = OnnxRuntimeNative()
