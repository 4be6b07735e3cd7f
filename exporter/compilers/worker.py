"""The process that builds one engine: `python worker.py`, request as JSON on stdin, events as JSON lines on
stdout.

It is a process of its own because the libraries can abort (a plugin makes the parser load the library under a
name that the wheel does not carry) and because a build must be interruptible. A build that lasts too long ends with
the process, by SIGALRM: also where native code hangs, and where the caller is gone. It imports nothing of the project
but the one file with the plugins that go into an engine, by its path.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import sys
import time
from typing import Any


def main() -> int:
    events = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever the libraries print must not end up between the events

    def send(event: str, **fields: Any) -> None:
        events.write(json.dumps({"event": event, **fields}) + "\n")
        events.flush()

    request = json.load(sys.stdin)
    signal.setitimer(signal.ITIMER_REAL, request["timeout"])
    trt = importlib.import_module(request["module"])
    problems: list[str] = []
    table: list[str] = []

    class Log(trt.ILogger):  # type: ignore[name-defined]  # trt is a variable
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                problems.append(message)
            elif message.startswith("Layers:"):
                table.append(message)

    class Monitor(trt.IProgressMonitor):  # type: ignore[name-defined]  # trt is a variable
        """Forwards the phases of the build; TensorRT calls it from its own threads."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.steps: dict[str, int] = {}

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            self.steps[phase] = steps
            send("progress", phase=phase, step=0, steps=steps)

        def step_complete(self, phase: str, step: int) -> bool:
            send("progress", phase=phase, step=step + 1, steps=self.steps.get(phase, 0))
            return True

        def phase_finish(self, phase: str) -> None:
            send("progress", phase=phase, step=self.steps.get(phase, 0), steps=self.steps.get(phase, 0))

    log = Log()
    builder = trt.Builder(log)
    if builder is None:
        send("failed", stage="start", messages=problems)
        return 1
    if request["plugin"] and builder.get_plugin_registry().load_library(request["plugin"]) is None:
        send("failed", stage="plugin", messages=[f"{request['plugin']} is no plugin library", *problems[:1]])
        return 1
    if request["aot_plugin"]:
        _register(request["aot_plugin"])
    network = builder.create_network(_network_flags(trt))
    parser = trt.OnnxParser(network, log)
    send("progress", phase="parse", step=0, steps=1)
    if not parser.parse_from_file(request["model"]):
        messages = [parser.get_error(i).desc() for i in range(parser.num_errors)]
        send("failed", stage="parse", messages=messages or problems)
        return 1
    _let_decompose(trt, network, request["decomposable"])

    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    monitor = Monitor()
    config.progress_monitor = monitor
    config.clear_flag(trt.BuilderFlag.TF32)  # float32 in the graph means float32 in the engine
    if request["optimization_level"] is not None:
        config.builder_optimization_level = request["optimization_level"]
    if request["workspace_bytes"] is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, request["workspace_bytes"])
    if request["compute_capabilities"]:
        config.num_compute_capabilities = len(request["compute_capabilities"])
        for index, name in enumerate(request["compute_capabilities"]):
            config.set_compute_capability(getattr(trt.ComputeCapability, f"SM{name}"), index)
    cache = None
    if request["timing_cache"] is not None:
        cache = _timing_cache(config, request["timing_cache"])
        if cache is None:
            wrong = (
                f"{request['timing_cache']} is no timing cache of this TensorRT and GPU; name another file"
            )
            send("failed", stage="timing cache", messages=[wrong])
            return 1
    if request["profile"]:
        profile = builder.create_optimization_profile()
        for name, bounds in request["profile"].items():
            profile.set_shape(name, bounds["min"], bounds["opt"], bounds["max"])
        config.add_optimization_profile(profile)

    started = time.perf_counter()
    engine = builder.build_serialized_network(network, config)
    seconds = time.perf_counter() - started
    if engine is None:
        send("failed", stage="build", messages=problems)
        return 1
    if not table:
        table.append(_inspect(trt, log, engine))
    signal.setitimer(signal.ITIMER_REAL, 0)  # what is built is written to its end
    with open(request["engine"], "wb") as file:
        file.write(engine)
    if cache is not None:
        with open(request["timing_cache"], "wb") as file:
            file.write(cache.serialize())
    send("done", seconds=seconds, table="\n".join(table), version=trt.__version__)
    return 0


def _inspect(trt: Any, log: Any, engine: Any) -> str:
    """The layer table of a builder that does not log it; needs the GPU that such a builder needs anyway."""
    loaded = trt.Runtime(log).deserialize_cuda_engine(engine)
    if loaded is None:
        return ""
    text: str = loaded.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.ONELINE)
    return text


def _register(plugins: dict[str, Any]) -> None:
    spec = importlib.util.spec_from_file_location("temport_aot_plugin", plugins["file"])
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    module.register(plugins["kernels"])


def _network_flags(trt: Any) -> int:
    """Strongly typed: the only kind from version 11 on (flag gone), a flag before.

    Where TensorRT knows plugins in two forms, their ahead-of-time form.
    """
    wanted = ("STRONGLY_TYPED", "PREFER_AOT_PYTHON_PLUGINS")
    flags = [getattr(trt.NetworkDefinitionCreationFlag, name, None) for name in wanted]
    return sum(1 << int(flag) for flag in flags if flag is not None)


def _let_decompose(trt: Any, network: Any, decomposable: dict[str, bool]) -> None:
    """Allow the attentions that no kernel takes (float32, unusual head sizes) to be built from smaller
    layers; `decomposable` has every attention node, whose name begins those of its two boundary layers.

    The bindings hand out layers under their base class; the attribute needs the derived one.
    """
    boundary = {
        trt.LayerType.ATTENTION_INPUT: trt.IAttentionInputLayer,
        trt.LayerType.ATTENTION_OUTPUT: trt.IAttentionOutputLayer,
    }
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        if layer.type in boundary:
            # the longest: `attention` also begins the layers of `attention_1`
            node = max((name for name in decomposable if layer.name.startswith(name)), key=len, default=None)
            if node is not None and decomposable[node]:
                layer.__class__ = boundary[layer.type]
                layer.attention.decomposable = True


def _timing_cache(config: Any, path: str) -> Any:
    """The cache in the file, or a new one where there is none; None where TensorRT does not take it."""
    content = b""
    if os.path.exists(path):
        with open(path, "rb") as file:
            content = file.read()
    cache = config.create_timing_cache(content)
    if cache is None or not config.set_timing_cache(cache, ignore_mismatch=False):
        return None
    return cache


if __name__ == "__main__":
    sys.exit(main())
