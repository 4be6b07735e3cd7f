"""Sums and other reductions over axes."""

from __future__ import annotations

from temport.exporter.native.plan import Call, Form, NoForm
from temport.exporter.native.sizes import product

_KINDS = {"ReduceSum": "Sums", "ReduceProd": "Products", "ReduceMax": "Greatest", "ReduceMin": "Least"}


def reduction(call: Call) -> None:
    x, y = call.input(0), call.output()
    rank = len(x.shape)
    given = call.constant(1).tolist() if call.has(1) else call.attribute("axes")
    axes = sorted(axis % rank for axis in (given or range(rank)))
    if axes != list(range(axes[0], axes[-1] + 1)):
        raise NoForm("its axes do not lie next to each other")
    before, middle, after = (
        product(x.shape[s]) for s in (slice(axes[0]), slice(axes[0], axes[-1] + 1), slice(axes[-1] + 1, None))
    )
    kind = _KINDS[call.node.op_type]
    call.line(f"reduce<{kind}>({x.code}, {before}, {middle.code}, {after.code}, {y.code});")


FORMS: dict[str, Form] = dict.fromkeys(_KINDS, reduction)
