"""Which dense layers and epilogues become FusedDense, which must not, and that the graph computes what it did."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator

from temport.exporter.build import save
from temport.exporter.declare.architectures import declare
from temport.exporter.parity.cases import default_cases
from temport.exporter.parity.result import FAIL
from temport.exporter.parity.run import run_parity
from temport.exporter.passes import fused_dense as rewrite
from temport.exporter.passes.spell_dense import spell_dense
from temport.exporter.runtimes import runtime_named
from temport.exporter.runtimes.op_reference import REFERENCE_OPS
from temport.exporter.runtimes.subject import Subject
from tests.traces import build

K, N, HEADS = 3, 4, 2
CONSTANTS = {
    "w": (K, N), "wt": (N, K), "w2": (K, N), "square": (N, N), "heads": (HEADS, K, N), "tall": (HEADS * K, N),
    "b": (N,), "b1": (1,), "across": (5, 1), "wide": (HEADS * N,),
    "row": (1, N), "table": (5, N), "scalar": (),
}  # fmt: skip
INPUTS = {
    "x": "rows, 3", "x2": "rows, 3", "one_x": "1, 3", "u": "rows, 4", "v": "rows, 4", "one": "1, 4",
    "other": "other, 4", "q": "rows, 1, 6", "p": "rows, 8", "p2": "rows, 6", "scale": "3, 4",
    "z": "rows, 2, 3", "e": "rows, 2, 4", "f": "rows, 2, 4", "g": "rows, 1, 4", "flat_x": "3",
}  # fmt: skip
SHAPES = {
    "split": [-1, HEADS, 1, K],
    "flat": [-1, HEADS * N],
    "cube": [-1, 1, HEADS * N],
    "copy": [0, 1, HEADS * N],
}


def graph(body: str, rows: str | int, outputs: str = "y", element: str = "float") -> ir.Model:
    """A model of these nodes with the inputs and constants that they name."""
    random, words = np.random.default_rng(0), set(re.findall(r"\w+", body))
    inputs = [
        f"{element}[{shape.replace('rows', str(rows))}] {name}"
        for name, shape in INPUTS.items()
        if name in words
    ]
    results = [f"{element}[a_{name}, c_{name}] {name}" for name in outputs.split()]
    constants = [
        f"int64[{len(sizes)}] {name} = {{{', '.join(map(str, sizes))}}}"
        for name, sizes in SHAPES.items()
        if name in words
    ]
    for name, shape in CONSTANTS.items():
        values = ", ".join(f"{v:.4f}" for v in random.standard_normal(shape).ravel())
        sizes = f"[{','.join(map(str, shape))}]" if shape else ""
        constants += [f"{element}{sizes} {name} = {{{values}}}"] if name in words else []
    proto = onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["" : 20]> g ({", ".join(inputs)}) => ({", ".join(results)})'
        f"<{', '.join(constants)}> {{ {body} }}"
    )
    for info in proto.graph.output:  # the parser wants a shape, inference finds the right one
        info.type.tensor_type.ClearField("shape")
    return ir.from_proto(onnx.shape_inference.infer_shapes(proto, data_prop=True))


def run(model: ir.Model, rows: int) -> list[np.ndarray]:
    """Every output by the reference evaluator, the custom op by its definition."""
    proto = ir.to_proto(model)
    if all(o.domain != "temport" for o in proto.opset_import):
        proto.opset_import.append(onnx.helper.make_opsetid("temport", 1))
    onnx.checker.check_model(proto, full_check=True)
    random, feeds = np.random.default_rng(rows), {}
    for info in proto.graph.input:
        sizes = [d.dim_value or rows for d in info.type.tensor_type.shape.dim]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(info.type.tensor_type.elem_type)
        feeds[info.name] = random.standard_normal(sizes).astype(dtype)
    return ReferenceEvaluator(proto, new_ops=REFERENCE_OPS).run(None, feeds)


def largest_difference(body: str, rows: str | int, outputs: str = "y") -> float:
    """Between the graph before and after the rewrite, relative to the largest number before."""
    before, after = graph(body, rows, outputs), graph(body, rows, outputs)
    spell_dense(after)
    rewrite.fused_dense(after)
    count = rows if isinstance(rows, int) else 7
    worst = 0.0
    for truth, got in zip(run(before, count), run(after, count), strict=True):
        assert got.shape == truth.shape
        worst = max(worst, float(np.abs(got - truth).max() / np.abs(truth).max()))
    return worst


def said(model: ir.Model) -> list[str]:
    """Every node: its operator, and of a FusedDense its activation, M, R and groups where there are any."""
    words = []
    for node in model.graph:
        if node.op_type != "FusedDense":
            words.append(node.op_type)
            continue
        given = [name for name, value in zip("XWBMR", node.inputs, strict=False) if value is not None]
        activation, groups = node.attributes["activation"].as_string(), node.attributes["groups"].as_int()
        extra = [activation] if activation != "none" else []
        extra += given[3:] + ([f"groups{groups}"] if groups > 1 else [])
        assert given[:3] == ["X", "W", "B"]
        words.append("-".join(["FusedDense", *extra]))
    return words


DENSE = "h = Gemm(x, w, b)"
GATED = f"{DENSE}  s = Sigmoid(h)  t = Mul(h, s) "
HEADS_OF = "s = Reshape(q, split)  m = MatMul(s, heads) "
TAKEN = {
    "bare": ("y = Gemm(x, w)", "FusedDense"),
    "product": ("y = MatMul(x, w)", "FusedDense"),
    "product, then a bias": ("h = MatMul(x, w)  y = Add(b, h)", "FusedDense"),
    "transposed weight": ("y = Gemm<transB = 1>(x, wt, b)", "FusedDense"),
    "relu": (f"{DENSE}  y = Relu(h)", "FusedDense-relu"),
    "gelu": (f"{DENSE}  y = Gelu(h)", "FusedDense-gelu"),
    "sigmoid": (f"{DENSE}  y = Sigmoid(h)", "FusedDense-sigmoid"),
    "silu": (f"{DENSE}  s = Sigmoid(h)  y = Mul(h, s)", "FusedDense-silu"),
    "silu turned": (f"{DENSE}  s = Sigmoid(h)  y = Mul(s, h)", "FusedDense-silu"),
    "factor": (f"{DENSE}  y = Mul(u, h)", "FusedDense-M"),
    "addend": (f"{DENSE}  y = Add(h, u)", "FusedDense-R"),
    "gate": (f"{DENSE}  s = Sigmoid(h)  y = Mul(s, u)", "FusedDense-sigmoid-M"),
    "everything": (f"{GATED} m = Mul(t, u)  y = Add(v, m)", "FusedDense-silu-M-R"),
    "two addends": (f"{DENSE}  a = Add(h, u)  y = Add(a, v)", "FusedDense-R Add"),
    "addend before the activation": (f"{DENSE}  a = Add(h, u)  y = Relu(a)", "FusedDense-R Relu"),
    "factor after the addend": (f"{DENSE}  a = Add(h, u)  y = Mul(a, v)", "FusedDense-R Mul"),
    "two activations": (f"{DENSE}  a = Relu(h)  y = Gelu(a)", "FusedDense-relu Gelu"),
    "sum of two layers": (f"{DENSE}  k = Gemm(x2, w2)  y = Add(h, k)", "FusedDense FusedDense-R"),
    "gated pair": (f"{GATED} k = Gemm(x2, w2)  y = Mul(t, k)", "FusedDense FusedDense-silu-M"),
    "one after another": (
        f"{DENSE}  a = Relu(h)  k = Gemm(a, square)  y = Add(k, a)", "FusedDense-R FusedDense-relu"
    ),
    "three axes": ("h = MatMul(z, w)  k = Add(h, b)  y = Gelu(k)", "FusedDense-gelu"),
    "three axes, everything": (
        "n = MatMul(z, w)  h = Add(n, b)  s = Sigmoid(h)  t = Mul(h, s)  m = Mul(t, e)  y = Add(f, m)",
        "FusedDense-silu-M-R"
    ),
    "one axis": ("h = MatMul(flat_x, w)  y = Add(h, b)", "FusedDense"),
    "heads": (f"{HEADS_OF} y = Reshape(m, flat)", "Reshape FusedDense-groups2"),
    "heads on three axes": (f"{HEADS_OF} y = Reshape(m, cube)", "Reshape FusedDense-groups2 Reshape"),
    "heads, then all": (
        f"{HEADS_OF.replace('q', 'p2')} h = Reshape(m, flat)  a = Add(h, wide)  r = Relu(a)  y = Add(p, r)",
        "FusedDense-relu-R-groups2",
    ),
}  # fmt: skip
"""Nodes -> what they become, in any order."""


@pytest.mark.parametrize("rows", [1, 5, "n"])
@pytest.mark.parametrize("case", TAKEN)
def test_epilogues_that_are_taken(case: str, rows: str | int) -> None:
    body, expected = TAKEN[case]
    model = graph(body, rows)
    spell_dense(model)
    assert rewrite.fused_dense(model)
    assert sorted(said(model)) == sorted(expected.split())
    assert largest_difference(body, rows) < 1e-6


LEFT = {
    "value used twice": (f"{DENSE}  a = Relu(h)  y = Concat<axis = 1>(h, a)", "y", "FusedDense Relu Concat"),
    "value that is an output": (f"{DENSE}  y = Relu(h)", "y h", "FusedDense Relu"),
    "silu of a value used a third time": (
        f"{GATED} y = Add(t, h)", "y", "FusedDense Sigmoid Mul Add"
    ),
    "silu whose gate is used again": (
        f"{GATED} y = Add(t, s)", "y", "FusedDense Sigmoid Mul Add"
    ),
    "square": (f"{DENSE}  y = Mul(h, h)", "y", "FusedDense Mul"),
    "one row for all": (f"{DENSE}  y = Add(h, one)", "y", "FusedDense Add"),
    "constant row": (f"{DENSE}  y = Mul(h, row)", "y", "FusedDense Mul"),
    "scalar": (f"{DENSE}  y = Mul(h, scalar)", "y", "FusedDense Mul"),
    "addend with more rows": ("h = Gemm(one_x, w, b)  y = Add(h, u)", "y", "FusedDense Add"),
    "gelu by tanh": (f'{DENSE}  y = Gelu<approximate = "tanh">(h)', "y", "FusedDense Gelu"),
    "second bias": (f"{DENSE}  y = Add(h, b)", "y", "FusedDense Add"),
    "subtraction": (f"{DENSE}  y = Sub(u, h)", "y", "FusedDense Sub"),
    "alpha": ("y = Gemm<alpha = 2.0>(x, w, b)", "y", "Gemm"),
    "beta": ("y = Gemm<beta = 0.5>(x, w, b)", "y", "Gemm"),
    "bias of one number": ("y = Gemm(x, w, b1)", "y", "Gemm"),
    "bias by row": ("y = Gemm(x, w, across)", "y", "Gemm"),
    "bias from the graph": ("y = Gemm(x, w, u)", "y", "Gemm"),
    "weight from the graph": ("y = Gemm(x, scale)", "y", "Gemm"),
    "three axes and two": ("h = MatMul(q, tall)  y = Add(h, u)", "y", "FusedDense Add"),
    "one position for all": ("h = MatMul(z, w)  y = Mul(h, g)", "y", "FusedDense Mul"),
    "product with rows on the right": ("y = MatMul(w, square)", "y", "MatMul"),
    "heads that look at their axes": (f"{HEADS_OF} y = Reshape(m, copy)", "y", "Reshape MatMul Reshape"),
    "heads apart": (f"{HEADS_OF} y = Relu(m)", "y", "Reshape MatMul Relu"),
}  # fmt: skip
"""Nodes, outputs -> what they become."""


@pytest.mark.parametrize("case", LEFT)
def test_what_is_left_alone(case: str) -> None:
    body, outputs, expected = LEFT[case]
    model = graph(body, 5, outputs)
    rewrite.fused_dense(model)
    assert sorted(said(model)) == sorted(expected.split())
    assert largest_difference(body, 5, outputs) < 1e-6


def test_an_epilogue_in_a_branch_stays_there() -> None:
    branch = "then_branch = t () => (float[5, 4] r) { s = Sigmoid(h)  r = Mul(h, s) }"
    other = "else_branch = e () => (float[5, 4] o) { o = Identity(u) }"
    body = f"{DENSE}  n = Size(x2)  c = Cast<to = 9>(n)  y = If (c) <{branch}, {other}>"
    model = graph(body, 5)
    rewrite.fused_dense(model)
    assert said(model) == ["FusedDense", "Size", "Cast", "If"]
    assert largest_difference(body, 5) < 1e-6


def test_sizes_that_may_differ() -> None:
    """Rows of another name, and a table of as many rows as the example has."""
    for body in (f"{DENSE}  y = Add(h, other)", f"{DENSE}  y = Add(h, table)"):
        model = graph(body, "n")
        rewrite.fused_dense(model)
        assert said(model) == ["FusedDense", "Add"]
    fixed = graph(f"{DENSE}  y = Add(h, table)", 5)
    rewrite.fused_dense(fixed)
    assert said(fixed) == ["FusedDense-R"]


def test_transposed_a_and_double_stay() -> None:
    for model in (
        graph("y = Gemm<transA = 1>(x, square)", 4),
        graph(DENSE.replace("h", "y"), 5, element="double"),
    ):
        assert not rewrite.fused_dense(model)
        assert said(model) == ["Gemm"]


def test_a_weight_is_turned_once() -> None:
    model = graph("h = Gemm<transB = 1>(x, wt)  k = Gemm<transB = 1>(x2, wt)  y = Add(h, k)", 5)
    spell_dense(model)
    rewrite.fused_dense(model)
    assert len({node.inputs[1] for node in model.graph}) == 1


def forget_the_addend(layer: rewrite.DenseLayer) -> None:
    take(layer)
    layer.addend = None


def confuse_the_gates(layer: rewrite.DenseLayer) -> None:
    take(layer)
    layer.activation = {"silu": "sigmoid", "sigmoid": "silu"}.get(layer.activation, layer.activation)


def confuse_factor_and_addend(layer: rewrite.DenseLayer) -> None:
    take(layer)
    layer.factor, layer.addend = layer.addend, layer.factor


take = rewrite._take_epilogue


@pytest.mark.parametrize("wrong", [forget_the_addend, confuse_the_gates, confuse_factor_and_addend])
def test_a_wrong_rewrite_is_seen(
    wrong: Callable[[rewrite.DenseLayer], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the comparison above, and by the parity gate in a whole model."""
    monkeypatch.setattr(rewrite, "_take_epilogue", wrong)
    assert largest_difference(TAKEN["everything"][0], 5) > 0.01
    settings = ["embed_dim=8", "hidden_size=16", "num_layers=1"]
    declaration, module, _ = declare("mega", settings, seq="6")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        save(build(module, declaration), path, external_data=False)
        subject = Subject(declaration, path, module)
        report = run_parity(
            subject,
            default_cases(declaration)[:1],
            [runtime_named("onnxruntime_cpu"), runtime_named("op_reference")],
        )
    assert [row.verdict for row in report.runtimes] == [FAIL, FAIL]
