"""Sessions whose inputs and outputs stay where they are, so that a call is the graph and nothing else.

Whatever is timed is called this way, ours and the peers: none pays for arrays that Python hands over or copies.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from temport.exporter.bundle.metadata import PREFIX

Feed = Mapping[str, npt.NDArray[Any]]
Call = Callable[[], npt.NDArray[Any]]
TYPES = {
    f"tensor({name})": np.dtype(known)
    for name, known in (
        ("bool", "bool"),
        ("float16", "float16"),
        ("float", "float32"),
        ("double", "float64"),
        *(
            (kind, kind)
            for kind in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
        ),
    )
}
"""ONNX Runtime's names of element types, as numpy has them."""


def held_in_place(session: Any) -> dict[str, str]:
    """`states_in_place` of the session's model; only for sessions that have those kernels."""
    return states_in_place(session.get_modelmeta().custom_metadata_map)


def states_in_place(metadata: Mapping[str, str]) -> dict[str, str]:
    """What native kernels write where they read it, by the signature in a model's metadata: output -> input. A function
    body needs two buffers.
    """
    signature = json.loads(metadata[PREFIX + "signature"])
    return {pair["output"]: pair["input"] for pair in signature.get("states", ()) if pair.get("in_place")}


def onnxruntime_call(session: Any, feed: Feed, in_place: Mapping[str, str] | None = None) -> Call:
    """An `onnxruntime.InferenceSession`; the call gives its first output, always the same array.

    Where a shape of the outputs is open, the session runs once to see it. Outputs are arrays of ours:
    `OrtValue.numpy()` would copy them. Those of `in_place` (output -> input) are the arrays of the feed, which the
    call changes.
    """
    in_place = in_place or {}
    binding = session.io_binding()
    for name, array in feed.items():
        binding.bind_cpu_input(name, array)
    outputs = session.get_outputs()
    if all(isinstance(d, int) for output in outputs for d in output.shape):
        new = [np.empty(output.shape, TYPES[output.type]) for output in outputs]
    else:
        new = session.run(None, {name: array.copy() for name, array in feed.items()})
    kept = [
        feed[in_place[output.name]] if output.name in in_place else array
        for output, array in zip(outputs, new, strict=True)
    ]
    for output, array in zip(outputs, kept, strict=True):
        binding.bind_output(output.name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)

    def call() -> npt.NDArray[Any]:
        session.run_with_iobinding(binding)
        return kept[0]

    call.__dict__["feed"] = feed  # whose arrays are bound where they lie
    return call


def openvino_call(request: Any, feed: Feed) -> Call:
    """An infer request of OpenVINO; the call gives its first output, a view. A request that fails does so here, with
    what OpenVINO says.
    """
    import openvino

    for name, array in feed.items():
        known = array.view(np.dtype(array.dtype.name))  # it has never heard of the other C type of 64 bits
        request.set_tensor(name, openvino.Tensor(known, shared_memory=True))
    # On one thread `infer` of 2026.4 says nothing of an error and leaves the output of the run before. The
    # asynchronous way says it, but waking another thread is no part of a run's time: it runs once, and what
    # runs once on these inputs runs every time.
    request.start_async()
    request.wait()

    def call() -> npt.NDArray[Any]:
        request.infer()
        return request.get_output_tensor(0).data

    call.__dict__["feed"] = feed  # whose memory the request shares
    return call
