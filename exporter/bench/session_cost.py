"""What opening a session costs before its model costs anything, with the op library registered and without it."""

from __future__ import annotations

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from onnx import TensorProto, helper

from temport.exporter.bench.resident import status_kib
from temport.exporter.runtimes.onnxruntime_cpu import session_options

SESSIONS, SETTLED = 64, 8


@dataclass(frozen=True)
class SessionCost:
    """Of one session with a model of one node.

    milliseconds  the fastest of `SESSIONS` openings
    kib           resident memory that each holds; from Linux's /proc
    """

    milliseconds: float
    kib: float


def session_cost(library: Path | None) -> SessionCost:
    """Measured in a process of its own, whose memory nobody else has grown or given back."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as alone:
        return alone.submit(_measure, library).result()


def _measure(library: Path | None) -> SessionCost:
    import onnxruntime

    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "one_node", values[:1], values[1:])
    opsets = [helper.make_opsetid("", 20)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()
    kept, took, settled = [], [], 0
    for turn in range(SESSIONS):
        started = time.perf_counter()
        kept.append(onnxruntime.InferenceSession(model, session_options(1, library)))
        took.append(time.perf_counter() - started)
        if turn + 1 == SETTLED:
            settled = status_kib("VmRSS")
    held = (status_kib("VmRSS") - settled) / (SESSIONS - SETTLED)
    return SessionCost(min(took) * 1e3, held)
