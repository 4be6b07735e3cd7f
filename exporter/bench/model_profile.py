"""Where the time of an exported model goes in ONNX Runtime, by operator."""

from __future__ import annotations

import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime as ort

from temport.custom_ops.library import library_path
from temport.exporter.runtimes.contract import Arrays
from temport.exporter.runtimes.onnxruntime_cpu import DISABLED_OPTIMIZERS, session_options

SECONDS = 0.3


def profile(model_path: Path, inputs: Arrays, threads: int) -> dict[str, float]:
    """Microseconds per run by operator, the largest first, from `by_node`."""
    return by_operator(by_node(model_path, inputs, threads))


def by_node(model_path: Path, inputs: Arrays, threads: int) -> dict[tuple[str, str], float]:
    """Microseconds per run by the name and the operator of each node that ONNX Runtime runs: medians over the runs of
    `SECONDS`, at least three.

    With the native library where it is built. Profiling itself adds two or three microseconds to every node.
    """
    with tempfile.TemporaryDirectory() as folder:
        options = session_options(threads, library_path())
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = ort.InferenceSession(
            model_path, options, providers=["CPUExecutionProvider"], disabled_optimizers=DISABLED_OPTIMIZERS
        )
        started, runs = time.perf_counter(), 0
        while runs < 3 or time.perf_counter() - started < SECONDS:
            session.run(None, inputs)
            runs += 1
        events = json.loads(Path(session.end_profiling()).read_text())
    return nodes_in(events)


def nodes_in(events: list[dict]) -> dict[tuple[str, str], float]:
    """Each node's median kernel time, from ONNX Runtime's trace events."""
    nodes: dict[tuple[str, str], list[float]] = defaultdict(list)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            name = event["name"].removesuffix("_kernel_time")
            nodes[name, event["args"]["op_name"]].append(event["dur"])
    return {node: float(np.median(durations)) for node, durations in nodes.items()}


def by_operator(nodes: Mapping[tuple[str, str], float]) -> dict[str, float]:
    """The sum over an operator's nodes, the largest first."""
    total: dict[str, float] = defaultdict(float)
    for (_, op), microseconds in nodes.items():
        total[op] += microseconds
    return dict(sorted(total.items(), key=lambda item: -item[1]))
