"""The gate is green on a right model and red on every way of being wrong; bisection names the right tensor."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from temport.exporter.errors import UserError
from temport.exporter.parity.result import FAIL, NOT_RUN, PASS
from temport.exporter.parity.run import run_parity
from temport.exporter.runtimes import RUNTIMES, runtime_named
from temport.exporter.runtimes.contract import Arrays, Closing

ORT = runtime_named("onnxruntime_cpu")


class Spoiled:
    """ONNX Runtime whose outputs pass through `spoil`."""

    name, capabilities = "spoiled", ORT.capabilities

    def __init__(self, spoil: Callable[[Arrays], Arrays]) -> None:
        self.spoil = spoil

    def unavailable(self) -> str | None:
        return None

    def open(self, subject: Any, threads: int = 1) -> Any:
        inner, spoil = ORT.open(subject, threads), self.spoil

        class Session(Closing):
            path, version = inner.path, inner.version

            def run(self, inputs: Arrays) -> Arrays:
                return spoil(inner.run(inputs))

        return Session()


class WrongKernel(Spoiled):
    """A runtime that computes one node of the graph wrongly: it edits what it loads."""

    name, inner = "wrong_kernel", ORT

    def __init__(self, edit: Callable[[onnx.ModelProto], None]) -> None:
        self.edit = edit

    def open(self, subject: Any, threads: int = 1) -> Any:
        model = onnx.load(subject.model_path)
        self.edit(model)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            path.write_bytes(model.SerializeToString())
            return self.inner.open(replace(subject, model_path=path), threads)


def node(model: onnx.ModelProto, op_type: str, turn: int) -> onnx.NodeProto:
    return [n for n in model.graph.node if n.op_type == op_type][turn]


def attribute(of: onnx.NodeProto, name: str) -> onnx.AttributeProto:
    return next(a for a in of.attribute if a.name == name)


def test_right_model_passes_everywhere(subject, cases, truths):
    report = run_parity(subject, cases, truths=truths)
    assert report.passed, report.reasons
    assert [row.name for row in report.runtimes] == list(RUNTIMES)
    ran = [row for row in report.runtimes if row.verdict != NOT_RUN]
    assert len(ran) >= 5
    assert all(row.path and row.version and len(row.results) == len(cases) for row in ran)


def test_progress_names_every_runtime(subject, cases, truths):
    seen = []
    run_parity(subject, cases[:1], [ORT], truths=truths[:1], progress=lambda *step: seen.append(step))
    assert seen == [("float64 oracle", 0, 2), ("onnxruntime_cpu", 1, 2)]


def nan(outputs: Arrays) -> Arrays:
    value = outputs["output"].copy()
    value.flat[-1] = np.nan
    return {**outputs, "output": value}


SPOILS = {
    "nan": nan,
    "truncated": lambda o: {**o, "output": o["output"][:, :-1]},
    "batch-swapped": lambda o: {**o, "output": o["output"][::-1]},
    "scaled-1e-5": lambda o: {**o, "output": o["output"] * (1 + 1e-5)},
    "missing": lambda o: {},
    "zero": lambda o: {**o, "output": np.zeros_like(o["output"])},
}


@pytest.mark.parametrize("spoil", SPOILS)
def test_spoiled_outputs_fail(subject, cases, truths, spoil):
    report = run_parity(subject, cases[:1], [Spoiled(SPOILS[spoil])], truths=truths[:1])
    assert report.verdict == FAIL
    assert report.reasons[0].startswith("spoiled: ")


def test_runtime_that_raises_fails_and_the_others_go_on(subject, cases, truths):
    def explode(outputs: Arrays) -> Arrays:
        raise RuntimeError("kernel died\nwith a long stack")

    report = run_parity(subject, cases[:1], [Spoiled(explode), ORT], truths=truths[:1])
    assert [row.verdict for row in report.runtimes] == [FAIL, PASS]
    assert "RuntimeError: kernel died" in report.reasons[0]
    assert "stack" not in report.reasons[0]


def test_file_that_does_not_load_fails(subject, cases, truths, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"no model")
    report = run_parity(replace(subject, model_path=path), cases[:1], [ORT], truths=truths[:1])
    assert report.verdict == FAIL
    assert "does not load" in report.runtimes[0].reason


def test_nothing_run_fails(subject, cases, truths):
    class Absent(Spoiled):
        def unavailable(self) -> str | None:
            return "it is not here"

    report = run_parity(subject, cases[:1], [Absent(nan)], truths=truths[:1])
    assert report.reasons == ("no runtime was run",)
    assert report.runtimes[0].reason == "it is not here"


def test_no_cases_is_refused(subject):
    with pytest.raises(UserError, match="at least one case"):
        run_parity(subject, (), [ORT])


def flip_weight(name: str, index: int) -> Callable[[onnx.ModelProto], None]:
    def edit(model: onnx.ModelProto) -> None:
        tensor = next(t for t in model.graph.initializer if t.name == name)
        value = numpy_helper.to_array(tensor).copy()
        value.flat[index] *= -1
        tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))

    return edit


def shift_mask(model: onnx.ModelProto) -> None:
    """Every baked mask moved by one key: the window off by one."""
    for constant in (n for f in model.functions for n in f.node if n.op_type == "Constant"):
        if constant.output[0].startswith("mask_"):
            tensor = constant.attribute[0].t
            tensor.CopyFrom(numpy_helper.from_array(np.roll(numpy_helper.to_array(tensor), 1, axis=-1)))


def softmax_axis(model: onnx.ModelProto) -> None:
    softmax = next(n for f in model.functions for n in f.node if n.op_type == "Softmax")
    attribute(softmax, "axis").i = -2


FILE_FAULTS = {
    "mask-shifted": (shift_mask, "onnxruntime_cpu", "OnlineSoftmaxAttention", 0),
    "body-softmax-axis": (softmax_axis, "onnxruntime_cpu", "OnlineSoftmaxAttention", 0),
    "attribute-window-4": (
        lambda m: setattr(attribute(node(m, "OnlineSoftmaxAttention", 1), "window"), "i", 4),
        "op_reference",
        "OnlineSoftmaxAttention",
        1,
    ),
    "epsilon-1e-1": (
        lambda m: setattr(attribute(node(m, "ResidualLayerNorm", 2), "epsilon"), "f", 0.1),
        "onnxruntime_cpu",
        "ResidualLayerNorm",
        2,
    ),
}


@pytest.mark.parametrize("fault", FILE_FAULTS)
def test_fault_of_the_file_is_found(subject, cases, truths, tampered, fault):
    edit, runtime, op_type, turn = FILE_FAULTS[fault]
    report = run_parity(tampered(edit), cases[:1], [runtime_named(runtime)], truths=truths[:1])
    assert report.verdict == FAIL
    at = report.runtimes[0].divergence
    expected = node(onnx.load(subject.model_path), op_type, turn)
    assert (at.where, at.tensor, at.node) == ("file", expected.output[0], expected.name)
    assert at.op.endswith(op_type)


@pytest.mark.parametrize(
    "weight", ["input_proj.bias", "layers.0.ffn.down.bias", "layers.1.attention.qkv.bias"]
)
def test_flipped_weight_is_found_where_it_is_added(subject, cases, truths, tampered, weight):
    report = run_parity(tampered(flip_weight(weight, 3)), cases[:1], [ORT], truths=truths[:1])
    assert report.verdict == FAIL
    at = report.runtimes[0].divergence
    adder = next(n for n in onnx.load(subject.model_path).graph.node if weight in n.input)
    assert (at.where, at.tensor) == ("file", adder.output[0])
    assert weight.removesuffix(".bias") in at.explanation


def gelu_by_tanh(model: onnx.ModelProto) -> None:
    gelu = next(n for f in model.functions for n in f.node if n.op_type == "Gelu")
    attribute(gelu, "approximate").s = b"tanh"


def first_gelu(model: onnx.ModelProto) -> onnx.NodeProto:
    layers = (n for n in model.graph.node if n.op_type == "FusedDense")
    return next(n for n in layers if attribute(n, "activation").s == b"gelu")


RUNTIME_FAULTS = {
    "gelu-tanh": (gelu_by_tanh, "temport::FusedDense", first_gelu),
    "norm-epsilon": (
        lambda m: setattr(attribute(node(m, "ResidualLayerNorm", 0), "epsilon"), "f", 0.1),
        "temport::ResidualLayerNorm",
        lambda m: node(m, "ResidualLayerNorm", 0),
    ),
}


@pytest.mark.parametrize("fault", RUNTIME_FAULTS)
def test_fault_of_the_runtime_is_found(subject, cases, truths, fault):
    edit, op_type, wrong = RUNTIME_FAULTS[fault]
    report = run_parity(subject, cases[:1], [WrongKernel(edit)], truths=truths[:1])
    assert report.verdict == FAIL
    at = report.runtimes[0].divergence
    assert (at.where, at.op, at.tensor) == (
        "runtime",
        op_type,
        wrong(onnx.load(subject.model_path)).output[0],
    )


def test_fault_that_hides_from_intermediates_says_so(subject, cases, truths):
    """Only a run without exposed tensors is wrong, as a fusion of several nodes would be."""

    def fused(outputs: Arrays) -> Arrays:
        return outputs if len(outputs) > 1 else {"output": outputs["output"] + 1}

    report = run_parity(subject, cases[:1], [Spoiled(fused)], truths=truths[:1])
    at = report.runtimes[0].divergence
    assert at.where == "unlocated"
    assert "fusion" in at.explanation


def test_a_file_that_cannot_be_searched_leaves_the_report(subject, cases, truths, tampered):
    """A kernel is wrong, and whether the body is, too, cannot be said: it reads a tensor that nothing writes."""

    def cut(model: onnx.ModelProto) -> None:
        for body in (f for f in model.functions if f.name == "OnlineSoftmaxAttention"):
            del body.node[0]

    class WrongReference(WrongKernel):
        inner = runtime_named("op_reference")

    wrong = WrongReference(
        lambda m: setattr(attribute(node(m, "OnlineSoftmaxAttention", 1), "window"), "i", 4)
    )
    report = run_parity(tampered(cut), cases[:1], [wrong, runtime_named("op_reference")], truths=truths[:1])
    assert [row.verdict for row in report.runtimes] == [FAIL, PASS]
    at = report.runtimes[0].divergence
    assert at.where == "unlocated"
    assert at.explanation.startswith("it cannot be evaluated node by node")
