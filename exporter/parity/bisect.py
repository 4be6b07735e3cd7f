"""Where a failing runtime leaves the truth: the first diverging tensor, with the node that produces it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx

from temport.exporter.graph import body_domains
from temport.exporter.parity.compare import CEILING, EPS, FLOOR_ULPS, judge, max_abs
from temport.exporter.parity.decided import settled
from temport.exporter.parity.graph_oracle import evaluate, inside_fused_ops
from temport.exporter.parity.oracle import Truth
from temport.exporter.parity.result import FAIL, Divergence
from temport.exporter.parity.torch_trace import find, trace
from temport.exporter.runtimes.contract import Arrays, Runtime
from temport.exporter.runtimes.subject import Subject

DOUBT = 8
"""A tensor diverges where its error is DOUBT times the rounding error of a plain evaluation: this only
locates a failure that the gate has already found, so a merely unlucky tensor must not be blamed."""


def locate(subject: Subject, runtime: Runtime, truth: Truth, threads: int = 1) -> Divergence | None:
    """Find the fault of a failed case. First question: does the file itself, in float64, agree with torch?

    Returns None where the runtime shows no intermediate tensors.
    """
    if not runtime.capabilities.intermediates:
        return None
    try:
        return _locate(subject, runtime, truth, threads)
    except Exception as error:  # evaluating a faulty file may raise anything, and the report has other rows
        return _unlocated(truth, f"it cannot be evaluated node by node: {type(error).__name__}: {error}")


def _locate(subject: Subject, runtime: Runtime, truth: Truth, threads: int) -> Divergence:
    model = body_domains.read_model(subject.model_path)
    exact = evaluate(model, truth.case.inputs, double=True)
    if wrong := _wrong(exact, truth):
        return _fault_of_file(subject, model, exact, truth, wrong[0])
    return _fault_of_runtime(subject, runtime, model, exact, truth, threads)


def locate_in_file(subject: Subject, truth: Truth) -> Divergence | None:
    """Find the fault of a file that is wrong in float64; None where it is not."""
    try:
        model = body_domains.read_model(subject.model_path)
        exact = evaluate(model, truth.case.inputs, double=True)
        wrong = _wrong(exact, truth)
        return _fault_of_file(subject, model, exact, truth, wrong[0]) if wrong else None
    except Exception as error:  # evaluating a faulty file may raise anything
        return _unlocated(truth, f"it cannot be evaluated node by node: {type(error).__name__}: {error}")


def _wrong(exact: Arrays, truth: Truth) -> list[str]:
    """Outputs in which the file, in float64, is not the truth."""
    return [n for n in truth.outputs if not _agrees(exact.get(n), truth, n, truth.allowed_of_file(n))]


def _agrees(value: np.ndarray | None, truth: Truth, name: str, allowed: float) -> bool:
    if value is None or value.shape != truth.outputs[name].shape:
        return False
    settled_value = settled({name: value}, truth.outputs, truth.undecided)[name]
    return max_abs(settled_value, truth.outputs[name]) <= allowed


def _fails(value: np.ndarray, truth: Truth, name: str, subject: Subject) -> bool:
    precision = subject.declaration.precision
    row = judge(value, truth.outputs[name], truth.bounds[name], precision, truth.limits.get(name))
    return row.verdict == FAIL


def _fault_of_runtime(
    subject: Subject, runtime: Runtime, model: onnx.ModelProto, exact: Arrays, truth: Truth, threads: int
) -> Divergence:
    """Run with every tensor exposed; the first that leaves its bound is where the runtime goes wrong."""
    rounded = evaluate(model, truth.case.inputs, double=False)
    eps = EPS[subject.declaration.precision]
    try:
        got = run_exposed(subject, runtime, model, list(exact), truth.case.inputs, threads)
    except Exception as problem:
        return _unlocated(
            truth, f"it does not run with intermediate tensors exposed: {type(problem).__name__}"
        )
    for name, error, allowed in tensor_errors(exact, rounded, got, eps):
        value = exact[name]
        if error > allowed:
            node = _producer(model, name)
            where, explanation = "runtime", "its inputs are right, so this node is computed wrongly"
            if node.domain:
                inlined = evaluate(model, truth.case.inputs, double=True, bodies=True)
                if max_abs(inlined[name], value) > allowed:
                    where, explanation = (
                        "file",
                        "the function body in the file differs from the op's reference",
                    )
            return _divergence(truth, where, name, node, error, allowed, explanation)
    if any(name not in got or _fails(got[name], truth, name, subject) for name in truth.outputs):
        return _unlocated(
            truth, "no single node is wrong: rounding accumulates until the output leaves its bound"
        )
    return _unlocated(truth, "it passes with intermediate tensors exposed: suspect a fusion of several nodes")


def _fault_of_file(
    subject: Subject, model: onnx.ModelProto, exact: Arrays, truth: Truth, output: str
) -> Divergence:
    """The file differs from torch: find the first torch submodule whose values occur nowhere in the graph."""
    tolerance = CEILING[subject.declaration.precision]
    if subject.module is not None:
        hidden, owners = inside_fused_ops(model, truth.case.inputs)
        tensors = {name: value for name, value in exact.items() if value.dtype.kind not in "biu"} | hidden
        for step in trace(subject, truth.case.inputs):
            found, nearest = find(step, tensors, tolerance)
            if found is None and nearest is not None:
                shown = owners.get(nearest, nearest)
                error = max_abs(tensors[nearest].ravel(), _same_size(step.value, tensors[nearest].size))
                return _divergence(
                    truth,
                    "file",
                    shown,
                    _producer(model, shown),
                    error,
                    tolerance * float(np.abs(step.value).max()),
                    f"the values of torch submodule {step.module} ({step.kind}) occur nowhere in the graph; "
                    "this tensor comes nearest",
                )
    value = exact.get(output)
    shaped = value is not None and value.shape == truth.outputs[output].shape
    error = max_abs(value, truth.outputs[output]) if value is not None and shaped else float("inf")
    return _divergence(
        truth,
        "file",
        output,
        _producer(model, output),
        error,
        truth.allowed_of_file(output),
        "the graph, evaluated in float64, differs from the source",
    )


def tensor_errors(
    exact: Arrays, rounded: Arrays, got: Arrays, eps: float
) -> Iterator[tuple[str, float, float]]:
    """Name, largest error and what of it is no reason to blame anyone, for each tensor of `got` that is finite in
    float64, in topological order; integers follow from those.

    exact, rounded  the graph evaluated in float64 and in its own types
    """
    for name, value in exact.items():
        if name not in got or value.dtype.kind in "biu" or not np.isfinite(value).all():
            continue
        scale = float(np.abs(value).max(initial=0.0))
        allowed = DOUBT * (max_abs(rounded[name], value) + FLOOR_ULPS * eps * scale)
        yield name, max_abs(got[name], value) if got[name].shape == value.shape else float("inf"), allowed


def run_exposed(
    subject: Subject,
    runtime: Runtime,
    model: onnx.ModelProto,
    names: list[str],
    inputs: Arrays,
    threads: int = 1,
) -> Arrays:
    """Run with the named tensors as further outputs. Main-graph names survive the inlining of functions."""
    exposed = onnx.ModelProto()
    exposed.CopyFrom(model)
    produced = {name for node in exposed.graph.node for name in node.output}
    present = {output.name for output in exposed.graph.output}
    exposed.graph.output.extend(
        onnx.ValueInfoProto(name=name) for name in names if name in produced and name not in present
    )
    inferred = onnx.shape_inference.infer_shapes(exposed)
    types = {info.name: info for info in inferred.graph.value_info}
    for output in exposed.graph.output:
        if output.name in types and not output.HasField("type"):
            output.type.CopyFrom(types[output.name].type)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / subject.model_path.name
        path.write_bytes(exposed.SerializeToString())
        with runtime.open(replace(subject, model_path=path), threads) as session:
            return session.run(inputs)


def _same_size(value: np.ndarray, size: int) -> np.ndarray:
    return value.ravel() if value.size == size else value[:, -1:].ravel()


def _producer(model: onnx.ModelProto, tensor: str) -> onnx.NodeProto:
    """The node that writes `tensor`; an empty node for inputs and initializers."""
    return next((node for node in model.graph.node if tensor in node.output), onnx.NodeProto())


def _divergence(
    truth: Truth,
    where: str,
    tensor: str,
    node: onnx.NodeProto,
    error: float,
    allowed: float | None,
    explanation: str,
) -> Divergence:
    op = f"{node.domain}::{node.op_type}" if node.domain else node.op_type or "initializer or input"
    finite = error if np.isfinite(error) else None
    limit = allowed if allowed is not None and np.isfinite(allowed) else None
    return Divergence(truth.case.name, where, tensor, op, node.name, finite, limit, explanation)


def _unlocated(truth: Truth, explanation: str) -> Divergence:
    return Divergence(truth.case.name, "unlocated", "", "", "", None, None, explanation)
