"""Runtimes by name. Importing this loads none of them: `temport --help` needs no torch and no OpenVINO."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING

from temport.exporter.errors import UserError, did_you_mean
from temport.plugins import RUNTIMES as GROUP
from temport.plugins import Plugin, PluginError, plugins

if TYPE_CHECKING:
    from temport.exporter.runtimes.contract import Runtime

RUNTIMES: dict[str, str] = {
    "torch_float32": "temport.exporter.runtimes.torch_eager:FLOAT32",
    "onnx_reference": "temport.exporter.runtimes.onnx_reference:RUNTIME",
    "op_reference": "temport.exporter.runtimes.op_reference:RUNTIME",
    "onnxruntime_cpu": "temport.exporter.runtimes.onnxruntime_cpu:RUNTIME",
    "onnxruntime_native": "temport.exporter.runtimes.onnxruntime_native:RUNTIME",
    "cpp": "temport.exporter.runtimes.cpp_runner:RUNTIME",
    "native_engine": "temport.exporter.runtimes.native_engine:RUNTIME",
    "openvino": "temport.exporter.runtimes.openvino:RUNTIME",
    "tensorrt": "temport.exporter.runtimes.tensorrt:RUNTIME",
    "tensorrt_rtx": "temport.exporter.runtimes.tensorrt_rtx:RUNTIME",
}
"""`name -> module:attribute`. A new runtime is one file and one line here, or an entry point (`temport.plugins`)."""

CONVERTED: dict[str, str] = {
    "aot_inductor": "temport.exporter.runtimes.aot_inductor:RUNTIME",
    "emx": "temport.exporter.runtimes.emx:RUNTIME",
    "executorch": "temport.exporter.runtimes.executorch:RUNTIME",
    "iree": "temport.exporter.runtimes.iree:RUNTIME",
    "litert": "temport.exporter.runtimes.litert:RUNTIME",
    "mnn": "temport.exporter.runtimes.mnn:RUNTIME",
    "tract": "temport.exporter.runtimes.tract:RUNTIME",
}
"""They run a form of their own of the model, which takes up to minutes to make."""

ON_REQUEST: dict[str, str] = {
    "node": "temport.exporter.runtimes.node:RUNTIME",
    "web": "temport.exporter.runtimes.web:RUNTIME",
    **CONVERTED,
}
"""Run only when named, or by `all`: they start a process or a browser for every case, or convert the model."""

FAST, ALL = "fast", "all"
"""In the place of names: those that run unless some are named, and those on request too."""

ORACLE = "temport.exporter.runtimes.torch_eager:FLOAT64"
"""The truth every runtime is compared with; never a row of its own."""


def runtime_named(name: str) -> Runtime:
    """The runtime called `name`; its library is imported only when a session is opened."""
    from temport.exporter.runtimes.foreign import checked

    ours = RUNTIMES | ON_REQUEST
    if name in ours:
        return resolve(ours[name])
    foreign = {plugin.name: plugin for plugin in offered()}
    if name not in foreign:
        raise UserError(f"unknown runtime {name!r}; {did_you_mean(name, [*ours, *filter(None, foreign)])}")
    try:
        return checked(foreign[name])
    except PluginError as error:
        raise UserError(str(error)) from error


def chosen(names: Iterable[str]) -> list[Runtime] | None:
    """The runtimes of `--runtime NAME ...`, each once; None, which is every fast one, where nothing is named."""
    found: dict[str, Runtime] = {}
    for name in names:
        named = every() if name in (FAST, ALL) else [runtime_named(name)]
        asked = [runtime_named(each) for each in ON_REQUEST] if name == ALL else []
        found |= {runtime.name: runtime for runtime in (*named, *asked)}
    return list(found.values()) or None


def offered() -> tuple[Plugin, ...]:
    """Runtimes that other distributions bring, none of them loaded yet."""
    return plugins(GROUP, RUNTIMES | ON_REQUEST)


def every() -> list[Runtime]:
    """All that run unless some are named: ours, and those of other distributions. One that cannot be loaded is among
    them and says why.
    """
    return [runtime_named(name) for name in RUNTIMES] + [_usable(plugin) for plugin in offered()]


def _usable(plugin: Plugin) -> Runtime:
    from temport.exporter.runtimes.foreign import Unusable, checked

    try:
        return checked(plugin)
    except PluginError as error:
        return Unusable(f"{plugin.name} of {plugin.origin}".removeprefix(" of "), str(error))


def resolve(target: str) -> Runtime:
    """The object at `module:attribute`."""
    module, _, attribute = target.partition(":")
    runtime: Runtime = getattr(import_module(module), attribute)
    return runtime


__all__ = [
    "ALL",
    "CONVERTED",
    "FAST",
    "ON_REQUEST",
    "ORACLE",
    "RUNTIMES",
    "chosen",
    "every",
    "offered",
    "resolve",
    "runtime_named",
]
