"""Constant factors around dense layers: the same function with fewer nodes, and nothing folded that is not the same."""

import re
from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from torch import nn

from temport.exporter.declare.modules import declare_factory
from temport.exporter.passes import fold_factors as subject
from temport.exporter.passes.fold_factors import fold_factors
from temport.exporter.passes.spell_dense import spell_dense
from tests.traces import build

K, N = 5, 3
EPS = float(np.finfo(np.float32).eps)

FOLDED = {
    "before": "p = Mul(x, k)  m = MatMul(p, w)  y = Add(m, b)",
    "before, one number first": "p = Mul(one, x)  m = MatMul(p, w)  y = Add(b, m)",
    "before a turned weight": "p = Mul(x, cube)  y = Gemm<transB = 1>(p, wt, b)",
    "behind": "m = MatMul(x, w)  s = Add(m, b)  y = Mul(n, s)",
    "behind, divided, no bias": "m = MatMul(x, w)  y = Div(m, n)",
    "behind a turned weight": "g = Gemm<transB = 1>(x, wt, b)  y = Mul(g, row)",
    "behind, alpha and beta": "g = Gemm<alpha = 0.5, beta = 3.0>(x, w, b)  y = Mul(g, n)",
    "both sides": "p = Div(x, k)  m = MatMul(p, w)  s = Add(b, m)  y = Mul(s, one)",
    "a moving average": "m = MatMul(x, w)  s = Add(m, b)  q = Mul(s, n)  o = Mul(old, row)  y = Add(o, q)",
}
"""Body -> every factor of a layer goes into it. Gemm has two axes, all others three."""

LEFT = {
    "two readers of the result": "m = MatMul(x, w)  s = Add(m, b)  a = Mul(s, n)  y = Add(a, s)",
    "two readers of the product": "m = MatMul(x, w)  s = Add(m, b)  a = Mul(s, n)  y = Add(a, m)",
    "two readers of the scaled": "p = Mul(x, k)  m = MatMul(p, w)  r = ReduceSum<keepdims = 1>(p, last)  y = Add(m, r)",
    "a shared weight": "p = Mul(x, k)  m = MatMul(p, w)  l = MatMul(x, w)  y = Add(m, l)",
    "one over the layer": "m = MatMul(x, w)  y = Div(n, m)",
    "a factor per row": "m = MatMul(x, w)  y = Mul(m, rows)",
    "a factor that adds an axis": "m = MatMul(x, w)  z = Mul(m, deep)  y = Squeeze(z, first)",
    "no factor": "m = MatMul(x, w)  y = Mul(m, m)",
    "digits would be lost": "m = MatMul(x, w)  y = Mul(m, tiny)",
    "no number": "m = MatMul(x, w)  y = Div(m, zero)",
}


def model(body: str, batch: str | int = "batch") -> ir.Model:
    """Inputs x `[batch, 4, K]` (`[batch, K]` with a Gemm) and old, of y's shape; output y with N features."""
    random = np.random.default_rng(5)

    def tensor(name: str, *shape: int, like: float | None = None) -> str:
        values = random.standard_normal(shape) if like is None else np.full(shape, like)
        sizes = f"[{','.join(map(str, shape))}]" if shape else ""
        return f"float{sizes} {name} = {{{', '.join(map(str, np.ravel(values)))}}}"

    constants = [tensor("k", K), tensor("n", N), tensor("w", K, N), tensor("wt", N, K), tensor("b", N)]
    constants += [tensor("one", like=0.7), tensor("row", 1, N), tensor("cube", 1, K), tensor("rows", 4, 1)]
    constants += [tensor("deep", 1, 1, 1, N), tensor("tiny", like=1e-38), tensor("zero", N, like=0.0)]
    constants += ["int64[1] last = {-1}", "int64[1] first = {0}"]
    leading = f"{batch}" if "Gemm" in body else f"{batch}, 4"
    used = [constant for constant in constants if re.search(rf"\b{constant.split()[1]}\b", body)]
    proto = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 20]>'
        f"g (float[{leading}, {K}] x, float[{leading}, {N}] old) => (float[{leading}, {N}] y)"
        f"<{', '.join(used)}> {{ {body} }}"
    )
    return ir.from_proto(onnx.shape_inference.infer_shapes(proto))


def run(rewritten: ir.Model, batch: int) -> np.ndarray:
    """y in float64, from the float32 constants as they are."""
    proto = ir.to_proto(rewritten)
    onnx.checker.check_model(proto, full_check=True)
    random, feeds = np.random.default_rng(batch), {}
    for value in proto.graph.input:
        shape = [d.dim_value or batch for d in value.type.tensor_type.shape.dim]
        feeds[value.name] = random.standard_normal(shape)
    for tensor in proto.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            wide = onnx.numpy_helper.to_array(tensor).astype(np.float64)
            tensor.CopyFrom(onnx.numpy_helper.from_array(wide, tensor.name))
    return ReferenceEvaluator(proto).run(None, feeds)[0]


def largest_difference(body: str, batch: int) -> float:
    """Of the rewritten model from the one as it is, as a share of the largest output."""
    before, after = model(body), model(body)
    spell_dense(after)
    fold_factors(after)
    truth = run(before, batch)
    return float(np.abs(run(after, batch) - truth).max() / np.abs(truth).max())


@pytest.mark.parametrize("name", FOLDED)
def test_the_same_function(name: str) -> None:
    body = FOLDED[name]
    after = model(body)
    spell_dense(after)
    assert fold_factors(after)
    factors = sum(node.op_type in ("Mul", "Div") for node in after.graph)
    assert factors == (1 if "average" in name else 0)
    assert [v.name for v in after.graph.outputs] == ["y"]
    for batch in (1, 7):
        assert largest_difference(body, batch) < 2 * K * EPS


@pytest.mark.parametrize("name", LEFT)
def test_left_alone(name: str) -> None:
    after = model(LEFT[name])
    ops = [node.op_type for node in after.graph]
    assert not fold_factors(after)
    assert [node.op_type for node in after.graph] == ops


def upside_down(node: ir.Node) -> tuple[ir.Value, np.ndarray] | None:
    found = take(node)
    return None if found is None else (found[0], found[1][::-1])


take = subject._factor


def test_a_wrong_factor_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "_factor", upside_down)
    assert largest_difference(FOLDED["before"], 3) > 0.01
    assert largest_difference(FOLDED["behind"], 3) > 0.01


class Own(nn.Module):
    """Someone's module on two axes: scaled inputs, one weight for two layers, a scaled result."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.randn(6))
        self.up, self.both, self.down = nn.Linear(6, 7), nn.Linear(7, 7), nn.Linear(7, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.tanh(self.up(x * self.scale))
        return 0.3 * self.down(self.both(torch.tanh(self.both(h)) * 1.7))


@pytest.mark.parametrize("batch", ["dynamic", "3"])
def test_own_module(batch: str) -> None:
    torch.manual_seed(2)
    declaration, module = declare_factory(Own, "own.py:Own", ["x=batch,6"], batch=batch, seq="3")
    proto = ir.to_proto(build(module, declaration).model)
    assert [node.op_type for node in proto.graph.node].count("Mul") == 1
    x = np.random.default_rng(1).standard_normal((3, 6)).astype(np.float32)
    with torch.no_grad():
        truth = module.double()(torch.from_numpy(x).double())[0].numpy()
    got = ReferenceEvaluator(proto).run(None, {"x": x})[0]
    np.testing.assert_allclose(got, truth, rtol=0, atol=32 * EPS * np.abs(truth).max())


def test_no_weight_leaves_the_range_of_float16() -> None:
    """A factor that brings what a layer takes or gives into the range would take the weight out of it."""
    large = nn.Sequential(nn.Linear(6, 6), nn.ReLU())
    torch.nn.init.normal_(large[0].weight, std=100.0)
    declaration, module = declare_factory(lambda: Scaled(large, 1e4), "own.py:make", ["x=batch,6"], seq="3")
    halves = build(module, replace(declaration, precision="float16"))
    assert any(node.op_type == "Mul" for node in halves.model.graph)
    assert not any(node.op_type == "Mul" for node in build(module, declaration).model.graph)


class Scaled(nn.Module):
    def __init__(self, layer: nn.Module, factor: float) -> None:
        super().__init__()
        self.layer, self.factor = layer, factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h: torch.Tensor = self.layer(torch.tanh(x) * self.factor)
        return h
