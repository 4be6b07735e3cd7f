"""Every pass leaves the float64 value of every graph as it was: the small modules and all architectures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch
from torch import nn

from temport.exporter.declare.declaration import Axis, Declaration, TensorSpec
from temport.exporter.parity.graph_oracle import evaluate, promoted
from temport.exporter.passes import order, work
from temport.exporter.passes.precision import lower_precision
from temport.exporter.passes.to_standard import to_standard
from tests import traces
from tests.exporter.small_modules import MODULES, SEQ, WIDTH
from tests.small_models import FEW, FIXED, SMALL, STREAMING, thorough_but

Pass = Callable[[ir.Model, Declaration], object]


def alone(step: work.Pass) -> Pass:
    return lambda model, declaration: step.run(work.Work(model, declaration))


PASSES: dict[str, Pass] = {
    step.name: alone(step)
    for step in order.PASSES
    if "custom" in step.dialects and "float32" in step.precisions and step.name != "clean"
}
"""Those of an export to our own ops in float32, in its order; `clean` takes names away and no number."""
ROUND_WEIGHTS = ("fold_factors", "absorb_projections", "absorb_keys")
"""Passes that compute new weights in float64 and round them: exact where the weights are float64."""
ALMOST = 1e-10
"""Of the largest output: a sum in float64 in another order."""
LIMITS = {"fused_dense": 1e-7, "recognise_attention": 1e-7, "spell_attention": 1e-7}
"""ONNX's own Gelu knows the root of 2 in float32 only; so do we the scale of attention, which is an attribute."""
OPEN = ("sliding_window", "dms-masked")
"""Models that are also traced with an open length."""
OPEN_MODULE = "distances_added_to_scores/open"
ARCHITECTURES = [*SMALL, *(f"{name}/open" for name in OPEN), *(f"{name}/stream" for name in STREAMING)]


@dataclass(frozen=True)
class Traced:
    """A graph as it comes from the tracer, with inputs for it."""

    declaration: Declaration
    model: ir.Model

    def inputs(self) -> Iterator[dict[str, np.ndarray]]:
        """Random ones at the usual length, and at the shortest where that is open."""
        axes = self.declaration.axes
        sizes = [{name: axis.opt for name, axis in axes.items()}]
        if any(not axis.static for name, axis in axes.items() if name != "batch"):
            sizes.append({name: axis.min for name, axis in axes.items()})
        for number, size in enumerate(sizes):
            random = np.random.default_rng(number)
            yield {
                spec.name: of_type(spec.dtype, random, spec.at(**size)) for spec in self.declaration.inputs
            }


def of_type(dtype: str, random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Random numbers; three keys of four allowed; a position, where whole numbers are asked for."""
    if dtype == "bool":
        return random.random(shape) < 0.75
    return np.full(shape, 3) if dtype == "int64" else random.standard_normal(shape).astype(dtype)


def graph_of(module: nn.Module, declaration: Declaration) -> Traced:
    model = traces.traced(module, declaration).model.clone()
    model.opset_imports["temport"] = 1
    return Traced(declaration, model)


@cache
def traced(name: str) -> Traced:
    """Each graph is traced once; whoever rewrites it takes a copy.

    The batch is open in the small modules and in the open models.
    """
    if name in ARCHITECTURES:
        small, _, form = name.partition("/")
        if form == "stream":
            declaration, module = SMALL[small].declare_stream(batch="2", seq="9")
        elif form == "open":
            declaration, module = SMALL[small].declare(batch="1:2:4", seq="4:9:12", memory="5")
        else:
            declaration, module = SMALL[small].declare(**FIXED)
        return graph_of(module, declaration)
    torch.manual_seed(0)
    small, _, form = name.partition("/")
    module = MODULES[small]().eval()
    with torch.no_grad():
        result = module(torch.randn(2, SEQ, WIDTH))
    results = result if isinstance(result, tuple) else (result,)
    batch = Axis("batch", 1, 2, 4)
    outputs = (TensorSpec(f"y{i}", "float32", (batch, *y.shape[1:])) for i, y in enumerate(results))
    seq = Axis("seq", 4, SEQ, 12) if form == "open" else Axis("seq", SEQ, SEQ, SEQ)
    inputs = (TensorSpec("x", "float32", (batch, seq, WIDTH)),)
    return graph_of(module, Declaration("module", {}, inputs, tuple(outputs)))


def values(graph: Traced, model: ir.Model) -> list[np.ndarray]:
    """All numbers that come out for all inputs in float64, after the checker's own look at names and shapes."""
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    names = [spec.name for spec in graph.declaration.outputs]
    assert [value.name for value in proto.graph.output] == names
    found = (evaluate(proto, inputs, double=True) for inputs in graph.inputs())
    return [
        tensors[spec.name]
        for tensors in found
        for spec in graph.declaration.outputs
        if spec.dtype == "float32"
    ]


def distance(one: list[np.ndarray], other: list[np.ndarray]) -> float:
    """The largest difference, in parts of the largest output; infinite where shapes differ."""
    if [a.shape for a in one] != [b.shape for b in other]:
        return float("inf")
    scale = max(float(np.abs(a).max()) for a in one)
    return max(float(np.abs(a - b).max()) for a, b in zip(one, other, strict=True)) / scale


def doubled(model: ir.Model) -> ir.Model:
    """A copy in float64 throughout, shapes as they were."""
    known = {value.name: value for node in model.graph.all_nodes() for value in node.outputs}
    twin = ir.from_proto(promoted(ir.to_proto(model)))
    for node in twin.graph.all_nodes():
        for value in node.outputs:
            value.shape, kind = known[value.name].shape, known[value.name].dtype
            value.type = (
                ir.TensorType(ir.DataType.DOUBLE) if kind == ir.DataType.FLOAT else known[value.name].type
            )
    return twin


def written(model: ir.Model) -> bytes:
    return ir.to_proto(model).SerializeToString(deterministic=True)


def check(name: str, passes: dict[str, Pass]) -> None:
    """Each pass by itself on the traced graph, and all of them one after the other as an export runs them."""
    graph = traced(name)
    chain, truth = graph.model.clone(), values(graph, graph.model)
    before, as_traced = truth, written(graph.model)
    now = as_traced
    for title, run in passes.items():
        limit = LIMITS.get(title, ALMOST)
        alone = doubled(graph.model) if title in ROUND_WEIGHTS else graph.model.clone()
        given = written(alone) if title in ROUND_WEIGHTS else as_traced
        run(alone, graph.declaration)
        if written(alone) != given:
            assert distance(truth, values(graph, alone)) < limit, f"{title} changes the value of {name}"
        given = now
        run(chain, graph.declaration)
        now = written(chain)
        if now != given:
            after = values(graph, chain)
            # weights that are rounded to float32 again move the result by as much
            moved = 1e-5 if title in ROUND_WEIGHTS else limit
            assert distance(before, after) < moved, f"{title} after the others changes the value of {name}"
            before = after


ONE_OF_EACH = tuple({small.arch.name: name for name, small in reversed(SMALL.items())}.values())
FIRST = (
    *(*MODULES, OPEN_MODULE, *FEW, *ONE_OF_EACH),
    *(
        f"{name}/{form}"
        for name in FEW
        for form in ("open", "stream")
        if name != "mega-softmax" or form == "open"
    ),
)
"""Every module, a model of each architecture and of each kind of layer; their other variants, and the stream that takes
longest, in the tier `thorough`."""


@pytest.mark.parametrize("name", thorough_but([*MODULES, OPEN_MODULE, *ARCHITECTURES], FIRST))
def test_no_pass_changes_the_value(name: str) -> None:
    check(name, PASSES)


@pytest.mark.parametrize("name", thorough_but(SMALL, FIRST))
def test_the_standard_dialect_says_the_same(name: str) -> None:
    graph = traced(name)
    model = graph.model.clone()
    to_standard(model, graph.declaration)
    assert distance(values(graph, graph.model), values(graph, model)) < ALMOST


FINDS = {
    "recognise_attention": "attention_in_plain_operators",
    "spell_attention": "attention_under_a_mask_of_pairs",
    "bake_positions": OPEN_MODULE,
    "spell_dense": "einsum_with_a_matrix",
    "fold_factors": "constant_factors",
    "prune": "residual_and_gelu",
    "absorb_projections": "sliding_window",
    "absorb_keys": "every_row_of_one_head",
    "moving_average": "two_moving_averages",
    "flatten_rows": "residual_and_gelu",
    "flat_frames": "sliding_window/stream",
    "join_reshapes": "two_moving_averages",
    "limit_lengths": "sliding_window/open",
    "fused_dense": "residual_and_gelu",
    "fused_recurrent": "gru",
    "residual_layer_norm": "residual_and_gelu",
    "attach_bodies": "sliding_window",
    "recognise_norm": "normalised_in_two_ways",
}
"""For each pass a graph that it rewrites after the passes before it."""
ELSEWHERE = {
    "compress_weights": "test_compressed_weights.py",
    "read_attention": "test_read_attention.py",
    "recognise_block_linear": "test_recognise_block_linear.py",
    "round_activations": "test_rounded_activations_export.py",
}
"""Passes that none of the graphs here has work for, and the tests that hold them to the float64 value."""


def test_every_pass_is_put_to_the_test() -> None:
    assert set(FINDS) | set(ELSEWHERE) == set(PASSES)
    assert all((Path(__file__).parent / name).is_file() for name in ELSEWHERE.values())


@pytest.mark.parametrize("title", FINDS)
def test_every_pass_has_something_to_do(title: str) -> None:
    graph = traced(FINDS[title])
    model = graph.model.clone()
    for earlier, run in PASSES.items():
        given = written(model)
        run(model, graph.declaration)
        if earlier == title:
            assert written(model) != given
            return


def one_digit_off(model: ir.Model, _: Declaration) -> None:
    """The first matrix with its first row a millionth larger."""
    name, value = next((n, v) for n, v in model.graph.initializers.items() if len(v.shape) == 2)
    array = value.const_value.numpy().copy()
    array[0] *= 1 + 1e-6
    value.const_value = ir.tensor(array, name=name)


def one_key_short(model: ir.Model, _: Declaration) -> None:
    """Every window one frame shorter."""
    for node in model.graph:
        if "window" in node.attributes:
            node.attributes["window"] = ir.AttrInt64("window", node.attributes["window"].as_int() - 1)


def another_name(model: ir.Model, _: Declaration) -> None:
    model.graph.outputs[0].name = "z"


def one_name_twice(model: ir.Model, _: Declaration) -> None:
    first, second = [node for node in model.graph][:2]
    second.outputs[0].name = first.outputs[0].name


@pytest.mark.parametrize("broken", [one_digit_off, one_key_short, another_name, one_name_twice])
def test_a_broken_pass_is_found(broken: Pass) -> None:
    with pytest.raises((AssertionError, onnx.checker.ValidationError)):
        check("grouped_heads_and_a_window", {"broken": broken})


def test_a_branch_reads_float32_in_a_half_precision_graph() -> None:
    """What a graph inside reads keeps its type there: a runtime takes the file, and the numbers are near."""
    graph = traced("a_branch_reads_it_whole")
    truth, model = values(graph, graph.model), graph.model.clone()
    change = lower_precision(model, "float16")
    assert change.float32["If"] == 1
    session = ort.InferenceSession(ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"])
    got = [session.run(None, inputs)[0] for inputs in graph.inputs()]
    assert 0 < distance(truth, got) < 1e-2
