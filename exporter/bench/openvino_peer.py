"""OpenVINO as a peer: a file as it compiles it by itself.

Not through our own runtime, which switches off kernels that OpenVINO fuses attention into.
"""

from __future__ import annotations

from pathlib import Path

from temport.exporter.runtimes.bound import Call, Feed
from temport.exporter.runtimes.bound import openvino_call as bound


def openvino_call(model: Path | bytes, feed: Feed, threads: int) -> Call:
    """An ONNX file or its bytes; the call gives its first output, a view."""
    import openvino

    core = openvino.Core()
    # without the precision hint it computes in bf16 on processors that have it
    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
    return bound(core.compile_model(core.read_model(model), "CPU", settings).create_infer_request(), feed)
