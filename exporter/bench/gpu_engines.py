"""Does a TensorRT engine run on this device? One float16 window attention, built, run and compared with
float64.

A process of its own, `python -m exporter.bench.gpu_engines TARGET`: it prints one line, and may crash.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

LENGTH, HEADS, HEAD_DIM, WINDOW = 128, 4, 64, 60
TARGETS = ("tensorrt-rtx", "tensorrt")
LONGEST = 80
"""Seconds for one target."""


def outcomes() -> dict[str, str]:
    """Per target what became of it: the error against float64, or why there is none."""
    found = {}
    for target in TARGETS:
        command = [sys.executable, "-m", "exporter.bench.gpu_engines", target]
        root = Path(__file__).resolve().parents[2]
        try:
            done = subprocess.run(command, capture_output=True, text=True, cwd=root, timeout=LONGEST)
        except subprocess.TimeoutExpired:
            found[target] = f"not finished after {LONGEST} seconds"
            continue
        lines = (done.stdout or done.stderr).strip().splitlines()
        found[target] = lines[-1][:300] if lines else f"died with exit status {done.returncode}"
    return found


def attempt(target: str) -> str:
    """Build, run, compare; one sentence."""
    try:
        import numpy as np
        import onnx
        from onnx import TensorProto, helper

        from custom_ops.online_softmax_attention.reference import reference
        from exporter.compilers.compile import compile_model
        from exporter.declaration import Declaration, TensorSpec
        from exporter.errors import UserError
        from exporter.runtimes import load
        from exporter.subject import Subject
    except ImportError as error:
        return f"not tried: {error}"
    width = HEADS * HEAD_DIM
    attributes = {
        "num_heads": HEADS, "kv_num_heads": HEADS, "causal": 1, "window": WINDOW, "query_offset": -1,
        "scale": HEAD_DIM**-0.5,
    }  # fmt: skip
    node = helper.make_node(
        "OnlineSoftmaxAttention", list("qkv"), ["y"], name="attention", domain="temport", **attributes
    )
    info = [helper.make_tensor_value_info(n, TensorProto.FLOAT16, [1, LENGTH, width]) for n in "qkvy"]
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("temport", 1)]
    model = helper.make_model(
        helper.make_graph([node], "g", info[:3], info[3:]), opset_imports=opsets, ir_version=10
    )
    specs = [TensorSpec(n, "float16", (1, LENGTH, width)) for n in "qkvy"]
    random = np.random.default_rng(0)
    feeds = {n: random.standard_normal((1, LENGTH, width)).astype(np.float16) for n in "qkv"}
    runtime = load(target.replace("-", "_"))
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "model.onnx"
        onnx.save(model, path)
        declaration = Declaration("module", {}, tuple(specs[:3]), tuple(specs[3:]))
        try:
            report = compile_model(target, path, declaration, Path(directory))
            built = f"built in {report.build_seconds} s, {report.fused} fused"
            if (why := runtime.unavailable()) is not None:
                return f"{built}; not run: {why}"
            with runtime.open(Subject(declaration, path)) as session:
                y = session.run(feeds)["y"]
        except UserError as error:
            return f"not run: {error}"
    largest = float(np.abs(y.astype(np.float64) - reference(list(feeds.values()), attributes)).max())
    return f"{built}; largest error against float64 {largest:.2e}"


if __name__ == "__main__":
    print(attempt(sys.argv[1]))
