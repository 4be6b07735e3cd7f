"""Where the time of an exported model goes in ONNX Runtime, by operator."""

from __future__ import annotations

import json
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import onnxruntime as ort

from temport.custom_ops.library import library_path
from temport.exporter.runtimes.contract import Arrays
from temport.exporter.runtimes.onnxruntime_cpu import DISABLED_OPTIMIZERS, session_options

SECONDS = 0.3


def profile(model_path: Path, inputs: Arrays, threads: int) -> dict[str, float]:
    """Microseconds per run by operator, the largest first; median of each node over the runs of `SECONDS`,
    at least three.

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
    return by_operator(events)


def by_operator(events: list[dict]) -> dict[str, float]:
    """Sum over nodes of each node's median kernel time, from ONNX Runtime's trace events."""
    nodes: dict[tuple[str, str], list[float]] = defaultdict(list)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            nodes[event["name"], event["args"]["op_name"]].append(event["dur"])
    total: dict[str, float] = defaultdict(float)
    for (_, op), durations in nodes.items():
        total[op] += float(np.median(durations))
    return dict(sorted(total.items(), key=lambda item: -item[1]))
