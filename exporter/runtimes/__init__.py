"""Runtimes by name. Importing this loads none of them: `temport --help` needs no torch and no OpenVINO."""

from __future__ import annotations

from importlib import import_module

from temport.exporter.errors import UserError, did_you_mean
from temport.exporter.runtimes.contract import Capabilities, Runtime, Session

RUNTIMES: dict[str, str] = {
    "torch_float32": "temport.exporter.runtimes.torch_eager:FLOAT32",
    "onnx_reference": "temport.exporter.runtimes.onnx_reference:RUNTIME",
    "op_reference": "temport.exporter.runtimes.op_reference:RUNTIME",
    "onnxruntime_cpu": "temport.exporter.runtimes.onnxruntime_cpu:RUNTIME",
    "onnxruntime_native": "temport.exporter.runtimes.onnxruntime_native:RUNTIME",
    "cpp": "temport.exporter.runtimes.cpp_runner:RUNTIME",
    "openvino": "temport.exporter.runtimes.openvino:RUNTIME",
    "tensorrt": "temport.exporter.runtimes.tensorrt:RUNTIME",
    "tensorrt_rtx": "temport.exporter.runtimes.tensorrt_rtx:RUNTIME",
}
"""`name -> module:attribute`. A new runtime is one file and one line here."""

ON_REQUEST: dict[str, str] = {
    "node": "temport.exporter.runtimes.node:RUNTIME",
    "web": "temport.exporter.runtimes.web:RUNTIME",
}
"""Run only when named: they start a process, or a whole browser, for every case."""

ORACLE = "temport.exporter.runtimes.torch_eager:FLOAT64"
"""The truth every runtime is compared with; never a row of its own."""


def load(name: str) -> Runtime:
    """The runtime called `name`; its library is imported only when a session is opened."""
    known = RUNTIMES | ON_REQUEST
    if name not in known:
        raise UserError(f"unknown runtime {name!r}; {did_you_mean(name, known)}")
    return resolve(known[name])


def resolve(target: str) -> Runtime:
    """The object at `module:attribute`."""
    module, _, attribute = target.partition(":")
    runtime: Runtime = getattr(import_module(module), attribute)
    return runtime


__all__ = ["ON_REQUEST", "ORACLE", "RUNTIMES", "Capabilities", "Runtime", "Session", "load", "resolve"]
