"""Attention as torch code says it: one node that the trace kept whole, or softmax between two matrix products."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto

import numpy as np
import onnx_ir as ir

from temport.exporter.graph import traced_attention
from temport.exporter.graph.elementwise import ELEMENTWISE
from temport.exporter.graph.standard_operator import is_standard

WEIGHTS_READ = "its weights are read too, and the op would compute them once more"


class Says(Enum):
    """What the elements of a mask mean."""

    ALLOWED = auto()
    """bool, True = attend"""
    BLOCKED = auto()
    """bool, True = ignore"""
    ADDED = auto()
    """a number that is added to the score"""


@dataclass(frozen=True)
class Term:
    """One mask of several that all hold; it broadcasts to the scores.

    fill   what a blocked score becomes, where that is not -inf
    """

    value: ir.Value
    says: Says
    fill: float = -np.inf


@dataclass(frozen=True)
class Operand:
    """A value as a product reads it, through `perm` where that is given."""

    value: ir.Value
    perm: tuple[int, ...] | None = None


@dataclass(frozen=True)
class PlainAttention:
    """softmax(scale * Q K^T under the masks) V.

    node      what gives the result
    q, k, v   `[..., T, D]`, `[..., S, D]` and `[..., S, Dv]`
    perm      how the result stands to `[..., T, Dv]`; None for just so
    scale     factor on the scores; None is 1/sqrt(D)
    causal    query t sees keys 0 to t, or all but as many as queries follow where they stand `at_end`
    whole     the trace kept it as one node, in which a row without a key gives 0 and not NaN
    softmax   the node that gives its weights, where there is one
    """

    node: ir.Node
    q: Operand
    k: Operand
    v: Operand
    terms: tuple[Term, ...] = ()
    scale: float | None = None
    causal: bool = False
    at_end: bool = False
    whole: bool = False
    perm: tuple[int, ...] | None = None
    softmax: ir.Node | None = None

    @property
    def scores(self) -> ir.Value | None:
        """What its softmax takes, where there is one."""
        return None if self.softmax is None else _softmax_of(self.softmax)

    @staticmethod
    def of(node: ir.Node) -> PlainAttention | None:
        """The attention that ends in this node; None where there is none, or its weights are used otherwise too."""
        if (node.domain, node.op_type) == (traced_attention.DOMAIN, traced_attention.NAME):
            return _kept_whole(node)
        product = _Product.of(node)
        softmax = _alone(product.one.value) if product is not None and product.one.perm is None else None
        scores = None if softmax is None else _Scores.behind(_softmax_of(softmax))
        if product is None or scores is None:
            return None
        return PlainAttention(
            node,
            scores.q,
            scores.k,
            product.other,
            scores.terms,
            scores.scale,
            perm=product.perm,
            softmax=softmax,
        )


def hindrance(node: ir.Node) -> str | None:
    """Why this node, which would end an attention, ends none that the op computes; None for any other node."""
    product = _Product.of(node)
    weights = product.one.value if product is not None and product.one.perm is None else None
    softmax = None if weights is None else weights.producer()
    scores = None if softmax is None else _softmax_of(softmax)
    if scores is None:
        return None
    if _Scores.behind(scores) is not None:
        return WEIGHTS_READ if _alone(weights) is None else None
    changing = _changing(scores)
    return None if changing is None else f"its scores go through {changing}, which the op does not compute"


def _changing(value: ir.Value) -> str | None:
    """The operator that takes scores, by element, and gives what are none."""
    node = value.producer()
    if node is None or not (is_standard(node) and node.op_type in ELEMENTWISE):
        return None
    for given in node.inputs:
        if given is not None and _Scores.behind(given) is not None:
            return str(node.op_type)
    found = (_changing(given) for given in node.inputs if given is not None)
    return next((changing for changing in found if changing is not None), None)


def _kept_whole(node: ir.Node) -> PlainAttention:
    q, k, v, mask = [*node.inputs, None][:4]
    assert q is not None and k is not None and v is not None, "the schema asks for them"
    given = {name: attribute.value for name, attribute in node.attributes.items()}
    terms: tuple[Term, ...] = ()
    if mask is not None:
        terms = (Term(mask, Says.ALLOWED if mask.dtype == ir.DataType.BOOL else Says.ADDED),)
    causal, at_end = (bool(given.get(name, 0)) for name in ("is_causal", "from_the_end"))
    return PlainAttention(
        node, Operand(q), Operand(k), Operand(v), terms, given.get("scale"), causal, at_end, whole=True
    )


@dataclass(frozen=True)
class _Product:
    """One `[..., T, C]` times other `[..., C, N]`, each read through a permutation; the result through `perm`."""

    one: Operand
    other: Operand
    perm: tuple[int, ...] | None = None

    @staticmethod
    def of(node: ir.Node) -> _Product | None:
        one, other = [*node.inputs, None, None][:2]
        if one is None or other is None or one.shape is None or other.shape is None:
            return None
        if is_standard(node, "MatMul") and len(one.shape) == len(other.shape) >= 3:
            return _Product(Operand(one), Operand(other))
        if is_standard(node, "Einsum") and len(node.inputs) == 2:
            return _of_einsum(one, other, node.attributes["equation"].as_string())
        return None


def _of_einsum(one: ir.Value, other: ir.Value, equation: str) -> _Product | None:
    """A product of batches of matrices in an equation without ellipsis or traces."""
    terms, _, out = equation.replace(" ", "").partition("->")
    left, _, right = terms.partition(",")
    if "." in equation or any(len(set(t)) != len(t) for t in (left, right, out)) or not out:
        return None
    batch = [c for c in out if c in left and c in right]
    summed = [c for c in left if c in right and c not in out]
    rows, columns = ([c for c in out if c in t and c not in o] for t, o in ((left, right), (right, left)))
    if not len(summed) == len(rows) == len(columns) == 1 or len(out) != len(batch) + 2:
        return None
    wanted = [[*batch, *rows, *summed], [*batch, *summed, *columns], [*batch, *rows, *columns]]
    if sorted(left) != sorted(wanted[0]) or sorted(right) != sorted(wanted[1]):
        return None
    perms = [_perm(list(left), wanted[0]), _perm(list(right), wanted[1]), _perm(wanted[2], list(out))]
    return _Product(Operand(one, perms[0]), Operand(other, perms[1]), perms[2])


def _perm(given: list[str], wanted: list[str]) -> tuple[int, ...] | None:
    return None if given == wanted else tuple(given.index(c) for c in wanted)


@dataclass(frozen=True)
class _Scores:
    """What a softmax takes: a product of queries and keys, scaled and masked."""

    q: Operand
    k: Operand
    terms: tuple[Term, ...] = ()
    scale: float = 1.0

    @staticmethod
    def behind(value: ir.Value | None) -> _Scores | None:
        node = None if value is None else value.producer()
        if node is None:
            return None
        product = _Product.of(node)
        if product is not None:
            if product.perm is not None:
                return None
            return _Scores(product.one, _turned(product.other))._without_factors()
        first, second = [*node.inputs, None, None][:2]
        if is_standard(node, "Mul", "Div"):
            factor = _number(second)
            given = first
            if factor is None and node.op_type == "Mul":
                factor, given = _number(first), second
            scores = _Scores.behind(given) if factor else None
            if scores is None or factor is None or factor <= 0:
                return None
            return replace(scores, scale=scores.scale * (factor if node.op_type == "Mul" else 1 / factor))
        if is_standard(node, "Add"):
            for scored, mask in ((first, second), (second, first)):
                scores = _Scores.behind(scored) if mask is not None else None
                if scores is not None and mask is not None:
                    return replace(scores, terms=(*scores.terms, Term(mask, Says.ADDED)))
        if is_standard(node, "Where"):
            condition, yes, no = node.inputs
            for scored, filled, says in ((no, yes, Says.BLOCKED), (yes, no, Says.ALLOWED)):
                fill = _number(filled)
                scores = _Scores.behind(scored) if fill is not None else None
                if scores is not None and fill is not None and condition is not None:
                    return replace(scores, terms=(*scores.terms, Term(condition, says, fill)))
        return None

    def _without_factors(self) -> _Scores:
        """A number that multiplies queries or keys multiplies the scores."""
        scale, operands = self.scale, []
        for operand in (self.q, self.k):
            node = operand.value.producer()
            if node is not None and is_standard(node, "Mul", "Div"):
                factor, inner = _number(node.inputs[1]), node.inputs[0]
                if factor and inner is not None and inner.shape == operand.value.shape:
                    scale *= factor if node.op_type == "Mul" else 1 / factor
                    operand = replace(operand, value=inner)
            operands.append(operand)
        return self if scale <= 0 else replace(self, q=operands[0], k=operands[1], scale=scale)


def _turned(operand: Operand) -> Operand:
    """`[..., C, N]` as `[..., N, C]`, which is what the node before it turned, if there is one."""
    rank = len(operand.value.shape or ())
    perm = list(operand.perm or range(rank))
    perm[-2:] = perm[:-3:-1]
    node = operand.value.producer()
    if (
        operand.perm is None
        and node is not None
        and is_standard(node, "Transpose")
        and node.inputs[0] is not None
    ):
        before = node.attributes["perm"].as_ints() if "perm" in node.attributes else range(rank)[::-1]
        perm, operand = [before[axis] for axis in perm], Operand(node.inputs[0])
    return Operand(operand.value, None if perm == sorted(perm) else tuple(perm))


def _softmax_of(node: ir.Node) -> ir.Value | None:
    """What a node is the softmax of, along the last axis: one operator, or `e / sum(e)` of `e = exp(x - max(x))`."""
    value = node.inputs[0] if node.inputs else None
    if value is None or value.shape is None:
        return None
    last = len(value.shape) - 1
    if is_standard(node, "Softmax"):
        axis = node.attributes["axis"].as_int() if "axis" in node.attributes else -1
        return value if axis in (-1, last) else None
    exp = value.producer()
    if not is_standard(node, "Div") or exp is None or not is_standard(exp, "Exp"):
        return None
    shifted = exp.inputs[0].producer() if exp.inputs[0] is not None else None
    if shifted is None or not is_standard(shifted, "Sub") or shifted.inputs[0] is None:
        return None
    scores = shifted.inputs[0]
    found = (
        _reduced(node.inputs[1], "ReduceSum", last) is value
        and _reduced(shifted.inputs[1], "ReduceMax", last) is scores
    )
    return scores if found else None


def _reduced(value: ir.Value | None, op: str, last: int) -> ir.Value | None:
    """What this reduction along the last axis takes, where it keeps that axis."""
    node = None if value is None else value.producer()
    if node is None or not is_standard(node, op) or len(node.inputs) < 2:
        return None
    kept = node.attributes["keepdims"].as_int() if "keepdims" in node.attributes else 1
    return node.inputs[0] if kept == 1 and _number(node.inputs[1]) in (-1, last) else None


def _alone(value: ir.Value | None) -> ir.Node | None:
    """The node that gives a value to one user only."""
    if value is None or value.is_graph_output() or len(value.uses()) != 1:
        return None
    return value.producer()


def _number(value: ir.Value | None) -> float | None:
    if value is None or value.const_value is None or value.const_value.size != 1:
        return None
    return float(value.const_value.numpy().reshape(()))
