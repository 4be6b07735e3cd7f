"""Flat rows: every dense layer is one Gemm, and the function is the same at every batch and length."""

from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from torch import nn

from temport.exporter.declare.modules import declare_factory
from temport.exporter.passes import flatten_rows as subject
from temport.exporter.passes.flatten_rows import flatten_rows
from temport.exporter.passes.notes import Notes
from tests.traces import build

C = 5
DENSE = "p{0} = MatMul({1}, w{0})  {2} = Add(p{0}, b{0})"

GRAPHS = {
    "two layers around a gate": "{a}  s = Sigmoid(h)  g = Mul(s, h)  n = LayerNormalization<axis=-1>(g, b0)  {b}",
    "residual and a transpose": "{a}  r = Add(x, h)  {b2}  t = Transpose<perm=[0,2,1]>(k)  y = Identity(t)",
    "constants of every rank": "{a}  c = Mul(h, row)  d = Add(c, cube)  e = Sub(d, scalar)  {be}",
    "features are split and joined": "{a}  u, v = Split<axis=2, num_outputs=2>(x)  j = Concat<axis=-1>(v, u, h)"
    "  k = Slice(j, one, six, two)  {bk}",
    "a bias that is not a row": "{a}  q = MatMul(h, w1)  z = Add(q, scalar)  {bz}",
    "bias first": "{a}  q = MatMul(h, w1)  z = Add(b1, q)  {bz}",
    "product used twice": "{a}  q = MatMul(h, w1)  z = Add(q, b1)  m = Mul(q, z)  {bm}",
}


def dense(n: int, source: str, target: str) -> str:
    return DENSE.format(n, source, target)


def model(body: str, batch: str | int, seq: str | int, extra: str = "") -> ir.Model:
    """Input x `[batch, seq, C]` (and x2 of two features), output y; weights w0.. `[C, C]`, biases b0.. `[C]`."""
    random = np.random.default_rng(3)

    def tensor(name: str, *shape: int) -> str:
        values = ", ".join(f"{v:.4f}" for v in random.standard_normal(shape).ravel())
        return f"float[{','.join(map(str, shape))}] {name} = {{{values}}}"

    sizes = f"{batch}, {C}, {seq}" if "Transpose" in body else f"{batch}, {seq}, {C}"
    constants = [tensor(f"w{i}", C, C) for i in range(4)] + [tensor(f"b{i}", C) for i in range(4)]
    constants += [tensor("row", 1, C), tensor("cube", 1, 1, C), "float scalar = {0.25}"]
    constants += ["int64[1] one = {1}", "int64[1] six = {6}", "int64[1] two = {2}", "int64[1] end = {99}"]
    body = body.format(
        a=dense(0, "x", "h"),
        b=dense(2, "n", "y"),
        b2=dense(2, "r", "k"),
        be=dense(2, "e", "y"),
        bk=dense(2, "k", "y"),
        bz=dense(2, "z", "y"),
        bm=dense(2, "m", "y"),
    )
    proto = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 20]>'
        f"g (float[{batch}, {seq}, {C}] x, float[{batch}, {seq}, 4] x2) => (float[{sizes}] y)"
        f"<{', '.join([*constants, *([extra] if extra else [])])}> {{ {body} }}"
    )
    return ir.from_proto(onnx.shape_inference.infer_shapes(proto, data_prop=True))


def run(rewritten: ir.Model, batch: int, seq: int) -> np.ndarray:
    """In float64 by the reference evaluator, after the checker's own shape inference."""
    proto = ir.to_proto(rewritten)
    onnx.checker.check_model(proto, full_check=True)
    for tensor in proto.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            array = onnx.numpy_helper.to_array(tensor).astype(np.float64)
            tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    random = np.random.default_rng(batch + 10 * seq)
    feeds = {name: random.standard_normal((batch, seq, width)) for name, width in (("x", C), ("x2", 4))}
    return ReferenceEvaluator(proto).run(None, feeds)[0]


def agree(
    body: str, batch: str | int, seq: str | int, sizes: list[tuple[int, int]], extra: str = ""
) -> ir.Model:
    whole, rows = model(body, batch, seq, extra), model(body, batch, seq, extra)
    assert flatten_rows(rows)
    assert [v.name for v in rows.graph.outputs] == ["y"]
    for size in sizes:
        truth = run(whole, *size)
        got = run(rows, *size)
        assert got.shape == truth.shape
        np.testing.assert_allclose(got, truth, rtol=0, atol=1e-13 * np.abs(truth).max())
    return rows


@pytest.mark.parametrize(
    "axes", [(2, 3), ("batch", 3), (2, "seq"), (1, "seq"), ("batch", 1), ("batch", "seq")], ids=str
)
@pytest.mark.parametrize("name", GRAPHS)
def test_same_function(name: str, axes: tuple[str | int, str | int]) -> None:
    batch, seq = axes
    sizes = [
        (b if isinstance(batch, str) else batch, t if isinstance(seq, str) else seq)
        for b, t in ((2, 3), (1, 1), (5, 7))
    ]
    agree(GRAPHS[name], batch, seq, sizes)


def test_positions_of_one_sequence_are_rows() -> None:
    """A table with one row per position and a cut along the sequence are row-wise where the batch is 1 only."""
    table = f"float[4,{C}] table = {{{', '.join(str(0.5 * i) for i in range(4 * C))}}}"
    table += ", int64[6] pads = {0, 1, 0, 0, 0, 0}"
    body = "{a}  t = Add(h, table)  r = Slice(t, one, end, one)  {b2}  s = Neg(k)  y = Pad(s, pads)"
    rows = agree(body, 1, 4, [(1, 4)], table)
    ops = "Reshape Gemm Add Slice Gemm Neg Reshape Pad"
    assert [n.op_type for n in rows.graph] == ops.split()
    assert not flatten_rows(model(body, 3, 4, table))


def test_names_of_the_flat_axis() -> None:
    """One for equal products; two inputs of unlike sizes keep unlike rows, so nothing takes them for the same."""
    batch, seq, memory = (ir.SymbolicDim(name) for name in ("batch", "seq", "memory"))

    def count(batch: int | ir.SymbolicDim, seq: int | ir.SymbolicDim) -> int | str | None:
        size = subject.Rows(batch, seq, C).flat[0]
        return size if isinstance(size, int) else size.value

    assert (count(2, 3), count(batch, 1), count(1, seq)) == (6, "batch", "seq")
    assert count(batch, seq) == count(seq, batch) == "batch*seq"
    assert count(batch, 60) == count(60, batch) == "60*batch"
    assert count(batch, ir.SymbolicDim("seq - 4")) == "batch*(seq - 4)"
    assert len({count(batch, size) for size in (seq, memory, 60, 61)}) == 4


def test_islands_share_the_rows_of_an_input() -> None:
    """Two branches that meet only behind a softmax, one of them listed before the other's reshape."""
    branch = "{0}  {1}  e{2} = Softmax(z{2})"
    first = branch.format(dense(0, "x", "u0"), dense(1, "u0", "z0"), 0)
    second = branch.format(dense(2, "x", "u1"), dense(3, "u1", "z1"), 1)
    rows = agree(f"{first}  {second}  y = Add(e0, e1)", "batch", 3, [(2, 3), (5, 3)])
    assert [n.op_type for n in rows.graph].count("Reshape") == 3


def test_left_alone() -> None:
    """One layer would trade reshapes for reshapes; without a bias there is nothing to merge; open shapes."""
    for body in ("{a}  y = Softmax(h)", "q = MatMul(x, w0)  m = MatMul(q, w1)  y = Neg(m)"):
        one = model(body, "batch", 3)
        before = [n.op_type for n in one.graph]
        assert not flatten_rows(one)
        assert [n.op_type for n in one.graph] == before
    unproved = model(GRAPHS["bias first"], "batch", "seq")
    for value in (*unproved.graph.inputs, *(v for n in unproved.graph for v in n.outputs)):
        value.shape = ir.Shape([None, None, 4 if value.name == "x2" else C])
    assert not flatten_rows(unproved)


@pytest.mark.parametrize("fault", ["adapt", "_return"])
def test_a_wrong_rewrite_is_seen(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With unadapted axes, or batch and sequence exchanged, the comparison above fails."""
    right = getattr(subject, fault)
    if fault == "adapt":
        monkeypatch.setattr(subject, fault, lambda graph, node: None)
    else:
        swap = lambda r: subject.Rows(r.seq, r.batch, r.width)  # noqa: E731
        monkeypatch.setattr(subject, fault, lambda g, v, rows, inside: right(g, v, swap(rows), inside))
    with pytest.raises(Exception):  # noqa: B017  a refusal by the checker is as good as a difference
        agree(GRAPHS["features are split and joined"], 2, 3, [(2, 3)])


def test_two_inputs_that_may_disagree_keep_their_axes() -> None:
    """2 sequences of 6 and 3 of 4 have as many rows, and no meaning together."""
    body = "{a}  j = Concat<axis=-1>(h, x2)  k = Slice(j, one, six, two)  {bk}"
    assert flatten_rows(model(body, "batch", 3)) and flatten_rows(model(body, 2, "seq"))
    rows = model(body, "batch", "seq")
    notes = Notes()
    assert not flatten_rows(rows, notes)
    (note,) = notes
    assert "flatten_rows: Add" in note and "several inputs have to agree" in note
    feeds = {"x": np.zeros((2, 6, C), np.float32), "x2": np.zeros((3, 4, 4), np.float32)}
    with pytest.raises(ValueError, match="dimension"):
        ReferenceEvaluator(ir.to_proto(rows)).run(None, feeds)


class Own(nn.Module):
    """Someone's module: layers that share an input, a branch over time, a result on two axes."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 8), nn.Linear(6, 8), nn.Linear(8, 4)
        self.norm = nn.LayerNorm(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.norm(torch.tanh(self.a(x)) * self.b(x))
        return self.c(h + h.mean(dim=1, keepdim=True)).amax(dim=1)


@pytest.mark.parametrize("axes", [("dynamic", "dynamic"), ("dynamic", "7"), ("3", "dynamic")], ids=str)
def test_own_module_with_open_axes(axes: tuple[str, str]) -> None:
    declaration, module = declare_factory(Own, "own.py:Own", ["x=batch,seq,6"], batch=axes[0], seq=axes[1])
    proto = ir.to_proto(build(module, replace(declaration, ops="standard")).model)
    assert [n.op_type for n in proto.graph.node].count("Gemm") >= 2
    for batch, seq in ((3, 7), (1, 7), (3, 1), (5, 40)):
        if axes[0] in ("dynamic", str(batch)) and axes[1] in ("dynamic", str(seq)):
            x = np.random.default_rng(seq).standard_normal((batch, seq, 6)).astype(np.float32)
            with torch.no_grad():
                truth = module.double()(torch.from_numpy(x).double())[0].numpy()
            module.float()
            got = ReferenceEvaluator(proto).run(None, {"x": x})[0]
            np.testing.assert_allclose(
                got, truth, rtol=0, atol=32 * np.finfo(np.float32).eps * np.abs(truth).max()
            )
