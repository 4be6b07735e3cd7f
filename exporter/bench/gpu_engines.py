"""Does a TensorRT engine compute the right numbers on this device? One float16 window attention, built, run and judged
by the bound of every parity report.

A process of its own, `python -m temport.exporter.bench.gpu_engines TARGET`: it prints one line of JSON,
and may crash or hang.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from temport.custom_ops.domain import DOMAIN
from temport.exporter.compilers.targets import backend
from temport.exporter.parity.result import FAIL, NOT_RUN, PASS

LENGTH, HEADS, HEAD_DIM, WINDOW = 128, 4, 64, 60
WIDTH = HEADS * HEAD_DIM
ATTRIBUTES = {
    "num_heads": HEADS, "kv_num_heads": HEADS, "causal": 1, "window": WINDOW, "query_offset": -1,
    "scale": HEAD_DIM**-0.5,
}  # fmt: skip
TARGETS = ("tensorrt-rtx", "tensorrt")
LONGEST = 80
"""Seconds for one target."""


@dataclass(frozen=True)
class Outcome:
    """What became of one target.

    verdict  `pass`, `fail`, or `not run` where something is absent: the package, the GPU, code for this GPU
    reason   why it is not a pass
    built    what the builder made, where it came that far
    error    largest |difference| from float64, and what is allowed; None where nothing was compared
    """

    verdict: str
    reason: str = ""
    built: str = ""
    error: float | None = None
    allowed: float | None = None

    def __str__(self) -> str:
        figures = "" if self.error is None else f"largest error against float64 {self.error:.2e}"
        if self.allowed is not None and figures:
            figures += f", {self.allowed:.2e} allowed"
        return "; ".join(
            filter(None, (self.built, figures, f"{self.verdict}: {self.reason}".removesuffix(": ")))
        )


def outcomes() -> dict[str, Outcome]:
    """Every target, each in a process of its own: one that crashes or does not end has failed."""
    return {target: _apart(target) for target in TARGETS}


def _apart(target: str) -> Outcome:
    command = [sys.executable, "-m", "temport.exporter.bench.gpu_engines", target]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST)
    except subprocess.TimeoutExpired:
        return Outcome(FAIL, f"not finished after {LONGEST} seconds")
    answer = done.stdout.splitlines()
    if done.returncode != 0 or not answer:
        lines = done.stderr.strip().splitlines() or ["it printed nothing"]
        return Outcome(FAIL, f"died with exit status {done.returncode}: {lines[-1][:300]}")
    return Outcome(**json.loads(answer[-1]))


def attempt(target: str) -> Outcome:
    """Build, run, compare; whatever goes wrong with an engine that could be built and run here is a failure."""
    if (why := backend(target).unavailable()) is not None:
        return Outcome(NOT_RUN, why)
    try:
        import onnx

        from temport.exporter.compilers.compile import compile_model
        from temport.exporter.compilers.contract import CompileOptions
        from temport.exporter.declare.declaration import Declaration, TensorSpec
        from temport.exporter.errors import UserError
        from temport.exporter.runtimes import runtime_named
        from temport.exporter.runtimes.subject import Subject
        from temport.exporter.runtimes.tensorrt_engine import NotForThisGpu
    except ModuleNotFoundError as error:  # any other ImportError is a fault, not an absent package
        return Outcome(NOT_RUN, str(error))
    specs = [TensorSpec(n, "float16", (1, LENGTH, WIDTH)) for n in "qkvy"]
    declaration = Declaration("module", {}, tuple(specs[:3]), tuple(specs[3:]))
    runtime = runtime_named(target.replace("-", "_"))
    with tempfile.TemporaryDirectory(prefix="temport-bench-") as directory:
        path = Path(directory) / "model.onnx"
        onnx.save(_model(), path)
        try:
            report = compile_model(
                target, path, declaration, Path(directory), CompileOptions(build_timeout=LONGEST)
            )
        except UserError as error:
            return Outcome(FAIL, str(error))
        built = f"built in {report.build_seconds} s, {report.fused} fused"
        if (why := runtime.unavailable()) is not None:
            return Outcome(NOT_RUN, why, built)
        feeds = _inputs()
        try:
            with runtime.open(Subject(declaration, path)) as session:
                y = session.run(feeds)["y"]
        except NotForThisGpu as error:
            return Outcome(NOT_RUN, str(error), built)
        except Exception as error:  # native code and bindings may raise anything
            return Outcome(FAIL, f"the run fails: {error}", built)
    return _judged(y, feeds, built)


def _judged(y: np.ndarray[Any, Any], feeds: dict[str, np.ndarray[Any, Any]], built: str) -> Outcome:
    import torch

    from temport.custom_ops.online_softmax_attention.reference import reference
    from temport.exporter.bench.gpu_checks import allowed_pairs, softmax_attention
    from temport.exporter.parity.compare import bound, judge, max_abs

    truth = reference(list(feeds.values()), ATTRIBUTES)
    allowed = allowed_pairs(LENGTH, LENGTH, "cpu", causal=True, window=WINDOW)
    q, k, v = (torch.from_numpy(x) for x in feeds.values())
    by_torch = softmax_attention(q, k, v, HEADS, HEADS, allowed).numpy()
    limit = bound(truth, max_abs(by_torch, truth), 0.0, "float16")
    row = judge(y, truth, limit, "float16")
    return Outcome(PASS if row.verdict == PASS else FAIL, row.reason, built, row.max_abs, limit.allowed)


def _inputs() -> dict[str, np.ndarray[Any, Any]]:
    random = np.random.default_rng(0)
    return {n: random.standard_normal((1, LENGTH, WIDTH)).astype(np.float16) for n in "qkv"}


def _model() -> Any:
    """The attention as one node of our domain; the compiler lowers it to what TensorRT fuses."""
    from onnx import TensorProto, helper

    node = helper.make_node(
        "OnlineSoftmaxAttention", list("qkv"), ["y"], name="attention", domain=DOMAIN, **ATTRIBUTES
    )
    info = [helper.make_tensor_value_info(n, TensorProto.FLOAT16, [1, LENGTH, WIDTH]) for n in "qkvy"]
    graph = helper.make_graph([node], "g", info[:3], info[3:])
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid(DOMAIN, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


if __name__ == "__main__":
    print(json.dumps(asdict(attempt(sys.argv[1]))))
