"""Products of matrices: with constant weights as dense layers, others with one side brought into panels first."""

from __future__ import annotations

import numpy as np

from temport.exporter.native.call import Call, Form
from temport.exporter.native.forms.dense import dense
from temport.exporter.native.forms.elementwise import write
from temport.exporter.native.forms.movement import View, move
from temport.exporter.native.forms.stored import Stored
from temport.exporter.native.loops import Nest, broadcast, nest
from temport.exporter.native.sizes import ONE, ZERO, Size, fixed, strides
from temport.exporter.native.tensors import NoForm, Tensor


def matmul(call: Call) -> None:
    a, b, y = call.input(0), call.input(1), call.output()
    if call.is_constant(1) and all(size == ONE for size in b.shape[:-2]):
        weight = call.constant(1)
        weight = weight.reshape(-1, 1 if weight.ndim == 1 else weight.shape[-1])
        return dense(call, Stored(weight), np.zeros((1, weight.shape[1])))
    batch = y.shape[: len(y.shape) - (len(a.shape) > 1) - (len(b.shape) > 1)]
    left = a.shape if len(a.shape) > 1 else (ONE, *a.shape)
    right = b.shape if len(b.shape) > 1 else (*b.shape, ONE)
    _multiply(
        call,
        Tensor(a.code, a.type, left),
        Tensor(b.code, b.type, right),
        Tensor(y.code, y.type, (*batch, left[-2], right[-1])),
    )


def gemm(call: Call) -> None:
    """alpha A B + beta C: alpha goes into a constant B, and one constant row C is a bias."""
    a, y = call.input(0), call.output()
    alpha, beta = call.attribute("alpha", 1.0), call.attribute("beta", 1.0)
    added = call.has(2)
    if call.attribute("transA", 0):
        turned = Tensor(call.plan.room(a.type, a.elements), a.type, a.shape[::-1])
        move(
            call, turned.shape, View(a.code, strides(a.shape)[::-1]), View(turned.code, strides(turned.shape))
        )
        a = turned
    if call.is_constant(1):
        weight = call.constant(1) * alpha
        weight, alpha = weight.T if call.attribute("transB", 0) else weight, 1.0
        bias = np.zeros(weight.shape[1])
        if added and call.is_constant(2) and call.constant(2).size in (1, bias.size):
            bias, added = np.broadcast_to(call.constant(2).reshape(-1) * beta, bias.shape), False
        dense(call, Stored(weight), bias[None], x=a)
    else:
        _multiply(call, a, call.input(1), y, bool(call.attribute("transB", 0)))
    if added:
        write(call, f"a * {alpha!r}f + b * {beta!r}f", [y, call.input(2)], y, "map_vectors")
    elif alpha != 1:
        write(call, f"a * {alpha!r}f", [y], y, "map_vectors")


def _multiply(call: Call, a: Tensor, b: Tensor, y: Tensor, transposed: bool = False) -> None:
    """y = a b for matrices in the last two axes; those before them are broadcast to y's. `transposed`: b is."""
    if {a.type, b.type} != {"float"}:
        raise NoForm(f"of {a.type} it has no native form")
    *batch, rows, columns = y.shape
    inner = a.shape[-1]
    loops = _by_rows(
        nest(
            (*batch, rows),
            [
                strides(y.shape)[:-1],
                _batched(a, batch, inner),
                _batched(b, batch, ZERO),
            ],
        )
    )
    panel = call.plan.isa.panel
    panels = call.plan.room("float", fixed(-(-columns.most // panel) * panel) * inner)
    into, step, _ = loops.steps()
    call.line(
        *loops.around(
            [
                f"multiply_matrices<{str(transposed).lower()}>({loops.inner.code}, {inner.code}, {columns.code}, "
                f"{loops.at(a.code, 1)}, {step}, {loops.at(b.code, 2)}, {loops.at(y.code, 0)}, {into}, {panels});"
            ]
        )
    )


def _batched(x: Tensor, batch: list[Size], row: Size) -> tuple[Size, ...]:
    """Strides along the axes before the matrices, as y has them, and from row to row."""
    matrix = x.shape[-2] * x.shape[-1]
    return (*(stride * matrix for stride in broadcast(x.shape[:-2], batch)), row)


def _by_rows(loops: Nest) -> Nest:
    """With one matrix b for the innermost axis, whose entries are rows then, of one matrix or of several."""
    if loops.strides[2][-1] == ZERO:
        return loops
    return Nest((*loops.shape, ONE), tuple((*each, ZERO) for each in loops.strides))


FORMS: dict[str, Form] = {"Gemm": gemm, "MatMul": matmul}
