"""Chains that only rename axes become one reshape; what moves an element stays."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator

from temport.exporter.passes import join_reshapes as subject
from temport.exporter.passes.join_reshapes import join_reshapes

CONSTANTS = (
    "int64[2] rows = {-1, 4}, int64[3] back = {-1, 3, 4}, int64[4] heads = {-1, 1, 2, 2}, "
    "int64[1] one = {1}, int64[1] two = {2}, int64 first = {0}, int64 last = {-1}"
)


def model(shape: str, body: str, output: str) -> ir.Model:
    proto = onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["" : 20]> g (double[{shape}] x) => (double[{output}] y) '
        f"<{CONSTANTS}> {{ {body} }}"
    )
    return ir.from_proto(onnx.shape_inference.infer_shapes(proto, data_prop=True))


def agree(shape: str, body: str, output: str, at: list[tuple[int, ...]]) -> list[str]:
    """Operators after the rewrite, which gives the same array for inputs of every size in `at`."""
    whole, joined = model(shape, body, output), model(shape, body, output)
    join_reshapes(joined)
    proto = ir.to_proto(joined)
    onnx.checker.check_model(proto, full_check=True)
    assert [v.name for v in joined.graph.outputs] == ["y"]
    for size in at:
        x = np.random.default_rng(0).standard_normal(size)
        truth = ReferenceEvaluator(ir.to_proto(whole)).run(None, {"x": x})[0]
        np.testing.assert_array_equal(ReferenceEvaluator(proto).run(None, {"x": x})[0], truth, strict=True)
    return [node.op_type for node in joined.graph]


FLIP = "Transpose<perm=[1,0,2]>"
CASES = {
    "there and back": ("batch,3,4", "r = Reshape(x, rows)  b = Reshape(r, back)  y = Neg(b)", "batch,3,4", ["Neg"]),
    "one sequence": ("1,n,4", f"t = {FLIP}(x)  s = Squeeze(t, one)  y = Neg(s)", "n,4", ["Reshape", "Neg"]),
    "one frame": ("batch,1,4", "h = Reshape(x, heads)  y = Transpose<perm=[0,2,1,3]>(h)", "batch,2,1,2", ["Reshape"]),
    "last of one": ("batch,1,4", "n = Neg(x)  y = Gather<axis=1>(n, last)", "batch,4", ["Neg", "Reshape"]),
    "two selections": ("b,1,1,4", "g = Gather<axis=1>(x, first)  y = Gather<axis=1>(g, last)", "b,4", ["Reshape"]),
    "input is output": ("batch,3,4", "r = Reshape(x, rows)  y = Reshape(r, back)", "batch,3,4", ["Reshape"]),
    "elements move": ("batch,3,4", f"t = {FLIP}(x)  y = Neg(t)", "3,batch,4", ["Transpose", "Neg"]),
    "last of three": ("batch,3,4", "y = Gather<axis=1>(x, last)", "batch,4", ["Gather"]),
    "two open sizes": ("b,n,1,4", "u = Squeeze(x, two)  y = Unsqueeze(u, one)", "b,1,n,4", ["Squeeze", "Unsqueeze"]),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_same_array_with_fewer_nodes(name: str) -> None:
    shape, body, output, expected = CASES[name]
    sizes = [tuple(int(d) if d.isdigit() else size for d in shape.split(",")) for size in (1, 2, 5)]
    assert agree(shape, body, output, sizes) == expected


def test_an_order_that_changes_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were every transpose taken for a reshape, the comparison above would fail."""
    right = subject._keeps_order
    monkeypatch.setattr(subject, "_keeps_order", lambda node: node.op_type == "Transpose" or right(node))
    shape, body, output, _ = CASES["elements move"]
    with pytest.raises(AssertionError):
        agree(shape, body, output, [(2, 3, 4)])
