"""The small models of every architecture through every CPU runtime, at lengths where no branch is idle.

At the reference defaults (length 60, window 60, block 64) windows never cut and the linear branch never runs; in the
small models windows are shorter than the sequence, blocks are at least three, and lengths divide by nothing. A new
architecture is put through all of this by its entry in the registry.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from _pytest.mark import ParameterSet
from torch import nn

from temport.exporter.build import Built, save
from temport.exporter.bundle.directory import open_bundle, write_manifest
from temport.exporter.bundle.staging import staged
from temport.exporter.declare import weights
from temport.exporter.declare.architectures import declare
from temport.exporter.declare.declaration import Declaration
from temport.exporter.parity.cases import Case, default_cases
from temport.exporter.parity.oracle import Truth, find_truths
from temport.exporter.parity.result import ParityReport
from temport.exporter.parity.run import run_parity
from temport.exporter.recheck import rebuilt_module
from temport.exporter.runtimes import runtime_named
from temport.exporter.runtimes.subject import Subject
from temport.exporter.trace.torch_to_onnx import to_onnx
from tests.small_models import FEW, FIXED, PRUNED, SMALL, thorough_but
from tests.traces import build

RUNTIMES = (
    "torch_float32",
    "onnx_reference",
    "op_reference",
    "onnxruntime_cpu",
    "onnxruntime_native",
    "openvino",
)
FORMS = {
    "fixed": FIXED,
    "open": {"batch": "1:2:5", "seq": "1:20:61", "memory": "1:13:61", "opset": 18},
    "single": {"batch": "1", "seq": "1", "memory": "9", "opset": 20},
    "newest": {"batch": "2", "seq": "41", "memory": "23", "opset": 24},  # with an Attention of its own
}
"""Axes and opset of every model that is traced."""
FIRST = {
    "fixed": (*FEW, "attention", "hybrid_mlp"),
    "open": FEW,
    "single": ("hybrid", "mega-softmax", "lightning-elu1"),  # what is carried over frames
    "newest": ("sliding_window", "dms-masked"),  # the masks of that Attention
}
"""The models that are put into a form in every run; all others in the tier `thorough`."""
OPEN_ALONE = ("sliding_window", "lightning-elu1", "dms-masked")
"""Models whose fixed form is in every runtime only in the tier `thorough`: there they are with open axes, and at this
length in ONNX Runtime unpruned, in ONNX's evaluator in half precision, and in float64 after every pass."""


def models_in(*forms: str, later: tuple[str, ...] = ()) -> list[ParameterSet]:
    """Every model by form; the fixed form of those of `later` in the tier `thorough`."""
    first = {form: {*FIRST[form]} - ({*later} if form == "fixed" else set()) for form in forms}
    marks = {True: (), False: pytest.mark.thorough}
    return [pytest.param(name, form, marks=marks[name in first[form]]) for name in SMALL for form in forms]


@cache
def declared(name: str, form: str) -> tuple[Declaration, nn.Module]:
    return SMALL[name].declare(**FORMS[form])


def parity(
    built: Built,
    declaration: Declaration,
    module: nn.Module,
    folder: Path,
    runtimes: tuple[str, ...] = RUNTIMES,
) -> ParityReport:
    save(built, folder / "model.onnx", external_data=False)
    subject = Subject(declaration, folder / "model.onnx", module)
    cases = default_cases(declaration)
    truths = _truths_of(subject, cases)
    return run_parity(subject, cases, [runtime_named(runtime) for runtime in runtimes], truths=truths)


_truths: dict[str, tuple[Truth, ...]] = {}


def _truths_of(subject: Subject, cases: tuple[Case, ...]) -> tuple[Truth, ...]:
    """Found once for each model: they are of the module and its precision, whatever becomes of the graph."""
    declaration = replace(subject.declaration, without=(), ops="custom", outputs=())
    key = f"{weights.fingerprint(subject.module)} {declaration}"
    if key not in _truths:
        _truths[key] = find_truths(subject, cases)
    return _truths[key]


def assert_all_agree(declaration: Declaration, module: nn.Module, folder: Path) -> Built:
    built = build(module, declaration)
    report = parity(built, declaration, module, folder)
    assert report.passed, report.reasons
    expected = dict.fromkeys(RUNTIMES, "pass")
    if not any(node.domain == "temport" for node in built.model.graph):
        # nothing for our kernels or op definitions to do
        expected |= dict.fromkeys(("op_reference", "onnxruntime_native"), "not run")
    assert {row.name: row.verdict for row in report.runtimes} == expected
    return built


@pytest.mark.parametrize(("name", "form"), models_in("fixed", "open", later=OPEN_ALONE))
def test_all_runtimes_agree_with_the_oracle(tmp_path: Path, name: str, form: str) -> None:
    assert_all_agree(*declared(name, form), tmp_path)


@pytest.mark.parametrize(("name", "form"), models_in("newest", "single"))
def test_another_opset_and_a_single_frame(tmp_path: Path, name: str, form: str) -> None:
    """The standard dialect of every model is held to the truth in test_passes_keep_values too."""
    declaration, module = declared(name, form)
    ops = "standard" if form == "newest" else "custom"
    assert_all_agree(replace(declaration, ops=ops), module, tmp_path)


WIDE = {
    "attention": ("hidden_size=128", "num_layers=2", "num_heads=4", "window_size=7"),
    "mega": ("num_layers=1",),
    "lightning": ("hidden_size=128", "num_layers=2", "block_size=9", "feature_map=elu1"),
    "hybrid": ("lstm_hidden=128", "num_heads=2"),
}


@pytest.mark.parametrize("arch", thorough_but(WIDE, WIDE.keys() - {"hybrid"}))  # an LSTM is the runtimes' own
def test_wide_models(tmp_path: Path, arch: str) -> None:
    """Wide enough for whole tiles of the kernels, whose small models have only remainders."""
    seq = "60" if arch == "mega" else "23"
    declaration, module, _ = declare(arch, ("embed_dim=10", *WIDE[arch]), batch="1", seq=seq)
    assert_all_agree(declaration, module, tmp_path)


HALF = {"float16": ("onnx_reference", "onnxruntime_cpu"), "bfloat16": ("onnx_reference",)}


ROUNDED_ELSEWHERE = ("hybrid", "mega-softmax")
"""Whose architectures tests/parity/test_bfloat16.py judges in bfloat16."""


@pytest.mark.parametrize(
    ("precision", "name"),
    [
        pytest.param(kind, name, marks=() if name in first else pytest.mark.thorough)
        for kind, first in (("float16", {*FEW}), ("bfloat16", {*FEW} - {*ROUNDED_ELSEWHERE}))
        for name in SMALL
    ],
)
def test_half_precision(tmp_path: Path, name: str, precision: str) -> None:
    declaration, module = declared(name, "fixed")
    declaration = replace(declaration, precision=precision)
    report = parity(build(module, declaration), declaration, module, tmp_path, HALF[precision])
    assert report.passed, report.reasons
    for row in report.runtimes:  # large inputs may be too much for a half type to be judged by
        assert [result.verdict for result in row.results].count("pass") >= 3, row.name


@pytest.mark.parametrize(("name", "form"), models_in("fixed", "open", "single"))
def test_pruning_leaves_out_work_and_changes_nothing(tmp_path: Path, name: str, form: str) -> None:
    """What is pruned is held to the oracle above; here the whole graph is, and it is the longer one."""
    declaration, module = declared(name, form)
    whole = build(module, replace(declaration, without=("prune",)))
    report = parity(whole, declaration, module, tmp_path, ("onnxruntime_cpu",))
    assert report.passed, report.reasons
    trimmed = build(module, declaration)
    work = [sum(built.flops["exported"].values()) for built in (trimmed, whole)]
    pruned = any(step.changed for step in trimmed.passes if step.name == "prune")
    assert pruned == (work[0] < work[1]) == (name in PRUNED and form != "single")


@pytest.mark.parametrize(("name", "form"), models_in("fixed", "open", "single"))
def test_rows_cost_what_sequences_cost(name: str, form: str) -> None:
    declaration, module = declared(name, form)
    rows = build(module, declaration)
    whole = build(module, replace(declaration, without=("flatten_rows",)))
    assert sum(rows.flops["exported"].values()) == sum(whole.flops["exported"].values())


MASK_ARITHMETIC = {"Range", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Trilu", "CumSum", "EyeLike"}
POSITION_ARITHMETIC = {"Sin", "Cos", "Pow"}


@pytest.mark.parametrize(("name", "form"), models_in("fixed", "open"))
def test_no_mask_and_no_position_is_computed(name: str, form: str) -> None:
    declaration, module = declared(name, form)
    built = build(module, declaration)
    assert not (MASK_ARITHMETIC | POSITION_ARITHMETIC) & set(built.op_counts["traced"])
    for value, spec in zip(built.model.graph.inputs, declaration.inputs, strict=True):
        assert value.shape is not None
        assert [isinstance(dim, int) for dim in value.shape] == [
            isinstance(d, int) for d in spec.onnx_shape()
        ]


def test_a_trace_without_tables_computes_its_positions() -> None:
    """What baking is for: without it the check above fails."""
    declaration, module = declared("sliding_window", "open")
    assert {"Range", "Sin"} <= {node.op_type for node in to_onnx(module, declaration).graph}


@pytest.mark.parametrize(
    ("name", "ops"),
    [
        ("sliding_window", {"temport::OnlineSoftmaxAttention": 2}),
        ("hybrid", {"temport::OnlineSoftmaxAttention": 1, "LSTM": 2}),
        ("lightning-elu1", {"temport::BlockLinearAttention": 2}),
        ("dms-masked", {"temport::OnlineSoftmaxAttention": 1}),
        # an Exp is the Laplace function's tail, one per block; a decay's would be another
        ("mega-softmax", {"temport::OnlineSoftmaxAttention": 2, "Conv": 4, "Exp": 0}),
        ("mega-laplace", {"temport::OnlineSoftmaxAttention": 0, "Conv": 4, "Exp": 2}),
        ("mega-l1", {"temport::OnlineSoftmaxAttention": 0, "Conv": 4, "Exp": 0}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("form", ["fixed", pytest.param("open", marks=pytest.mark.thorough)])
def test_layers_are_traced_whole(name: str, ops: dict[str, int], form: str) -> None:
    declaration, module = declared(name, form)
    traced = build(module, declaration).op_counts["traced"]
    assert {op: traced.get(op, 0) for op in ops} == ops


@pytest.mark.parametrize("name", thorough_but(SMALL, FIRST["fixed"]))
def test_a_bundle_gives_its_model_back(tmp_path: Path, name: str) -> None:
    declaration, module = declared(name, "fixed")
    built = build(module, declaration)
    trained = copy.deepcopy(module)
    with torch.no_grad():
        next(trained.parameters()).add_(1)  # weights that no seed gives
    with staged(tmp_path / "bundle") as work:
        save(built, work / "model.onnx", external_data=False)
        (work / "weights.safetensors").write_bytes(weights.serialise(trained))
        write_manifest(work, declaration, built.mask_records(), {})
    bundle = open_bundle(tmp_path / "bundle")
    assert (
        bundle.declaration.inputs == declaration.inputs and bundle.declaration.outputs == declaration.outputs
    )
    again = rebuilt_module(bundle)
    assert again is not None
    x = SMALL[name].inputs(batch=2, seq=41, memory=23)
    with torch.no_grad():
        assert torch.equal(again(*x), trained(*x))


def test_ill_conditioned_default_of_lightning_is_told(tmp_path: Path) -> None:
    """identity with key_sum over several blocks: the warning is there, and no case is called a pass unjudged."""
    declaration, module = SMALL["lightning-elu1"].declare("feature_map=identity", batch="1", seq="41")
    built = build(module, declaration)
    assert any("ill-conditioned" in warning for warning in built.warnings)
    report = parity(built, declaration, module, tmp_path, ("onnxruntime_cpu",))
    for case, result in zip(report.cases, report.runtimes[0].results, strict=True):
        assert (result.verdict == "pass") <= case.bounds["output"].judgeable
        assert case.bounds["output"].conditioning is not None
