"""Which normalisations become ResidualLayerNorm, with which addend, and that the graph computes what it did."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator

from temport.exporter.passes.residual_layer_norm import residual_layer_norm
from temport.exporter.runtimes.op_reference import REFERENCE_OPS

INPUTS = {"x": "rows, 3", "r": "rows, 3", "one": "1, 3", "other": "other, 3", "z": "2, rows, 3", "v": "3"}
CONSTANTS = (
    "float[3] s = {0.5, -1, 2}, float[3] b = {0.1, 0.2, 0.3}, float[1] s1 = {2}, "
    "float[2, 3] s2 = {1, 2, 3, 4, 5, 6}"
)


def graph(body: str, rows: str | int, outputs: str = "y", element: str = "float") -> ir.Model:
    inputs = ", ".join(
        f"{element}[{shape.replace('rows', str(rows))}] {name}" for name, shape in INPUTS.items()
    )
    results = ", ".join(f"{element}[a_{name}, c_{name}] {name}" for name in outputs.split())
    proto = onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["" : 20]> g ({inputs}) => ({results})'
        f"<{CONSTANTS.replace('float', element)}> {{ {body} }}"
    )
    for info in proto.graph.output:  # the parser wants a shape, inference finds the right one
        info.type.tensor_type.ClearField("shape")
    return ir.from_proto(onnx.shape_inference.infer_shapes(proto, data_prop=True))


def said(model: ir.Model) -> str:
    """Every node: its operator, and of ResidualLayerNorm the names of its data and its epsilon."""
    words = []
    for node in model.graph:
        if node.op_type != "ResidualLayerNorm":
            words.append(node.op_type)
            continue
        x, scale, bias, *addend = node.inputs
        assert scale.name == "s" and bias.name in ("b", "no_bias/of_3")
        words.append("+".join([x.name, *(value.name for value in addend)]))
        words[-1] += f" {node.attributes['epsilon'].as_float():.0e}"
    return ", ".join(words)


def run(model: ir.Model) -> list[np.ndarray]:
    """Every output by the reference evaluator, the custom op by its definition."""
    proto = ir.to_proto(model)
    if all(o.domain != "temport" for o in proto.opset_import):
        proto.opset_import.append(onnx.helper.make_opsetid("temport", 1))
    onnx.checker.check_model(proto, full_check=True)
    random, feeds = np.random.default_rng(0), {}
    for info in proto.graph.input:
        sizes = [d.dim_value or 5 for d in info.type.tensor_type.shape.dim]
        feeds[info.name] = random.standard_normal(sizes).astype(np.float32)
    return ReferenceEvaluator(proto, new_ops=REFERENCE_OPS).run(None, feeds)


NORM = "LayerNormalization"
CASES = {
    "bare": (f"y = {NORM}(x, s, b)", "y", "x 1e-05"),
    "epsilon": (f"y = {NORM}<epsilon = 0.001>(x, s, b)", "y", "x 1e-03"),
    "no bias": (f"y = {NORM}(x, s)", "y", "x 1e-05"),
    "last of two axes": (f"y = {NORM}<axis = 1>(x, s, b)", "y", "x 1e-05"),
    "three axes": (f"y = {NORM}<axis = -1>(z, s, b)", "y", "z 1e-05"),
    "one axis": (f"y = {NORM}(v, s, b)", "y", "v 1e-05"),
    "sum": (f"a = Add(x, r)  y = {NORM}(a, s, b)", "y", "x+r 1e-05"),
    "sum with itself": (f"a = Add(x, x)  y = {NORM}(a, s, b)", "y", "x+x 1e-05"),
    "two sums": (
        f"a = Add(x, r)  n = {NORM}(a, s, b)  c = Add(n, x)  y = {NORM}(c, s, b)", "y", "x+r 1e-05, n+x 1e-05"
    ),
    "difference": (f"a = Sub(x, r)  y = {NORM}(a, s, b)", "y", "Sub, a 1e-05"),
    "sum read twice": (f"a = Add(x, r)  n = {NORM}(a, s, b)  y = Mul(n, a)", "y", "Add, a 1e-05, Mul"),
    "sum that is an output": (f"a = Add(x, r)  y = {NORM}(a, s, b)", "y a", "Add, a 1e-05"),
    "one row for all": (f"a = Add(x, one)  y = {NORM}(a, s, b)", "y", "Add, a 1e-05"),
    "all for one row": (f"a = Add(one, x)  y = {NORM}(a, s, b)", "y", "Add, a 1e-05"),
    "a constant row": (f"a = Add(x, b)  y = {NORM}(a, s, b)", "y", "Add, a 1e-05"),
    "both axes": (f"y = {NORM}<axis = 0>(x, s2, s2)", "y", NORM),
    "one number for all": (f"y = {NORM}(x, s1)", "y", NORM),
    "scale from the graph": (f"y = {NORM}(x, v)", "y", NORM),
    "bias from the graph": (f"y = {NORM}(x, s, v)", "y", NORM),
    "mean read too": (f"n, m = {NORM}(x, s, b)  y = Mul(n, m)", "y", f"{NORM}, Mul"),
    "mean an output": (f"y, m = {NORM}(x, s, b)", "y m", NORM),
}  # fmt: skip
"""Nodes, outputs -> what they become."""


@pytest.mark.parametrize("rows", [1, 2, "n"])
@pytest.mark.parametrize("case", CASES)
def test_what_becomes_of_it(case: str, rows: str | int) -> None:
    body, outputs, expected = CASES[case]
    if rows != 2 and case == "both axes":
        pytest.skip("its scale has two rows")
    if rows == 1 and case in ("one row for all", "all for one row"):
        expected = "x+one 1e-05" if case.startswith("one") else "one+x 1e-05"
    before, after = graph(body, rows, outputs), graph(body, rows, outputs)
    assert residual_layer_norm(after) == ("1e-0" in expected)
    assert said(after) == expected
    for truth, got in zip(run(before), run(after), strict=True):
        assert got.shape == truth.shape
        np.testing.assert_allclose(got, truth, rtol=1e-4, atol=1e-5)


def test_rows_of_another_name_may_be_others() -> None:
    model = graph(f"a = Add(x, other)  y = {NORM}(a, s, b)", "n")
    residual_layer_norm(model)
    assert said(model) == "Add, a 1e-05"


def test_double_stays() -> None:
    model = graph(f"y = {NORM}(x, s, b)", 2, element="double")
    assert not residual_layer_norm(model)
