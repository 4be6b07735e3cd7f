"""Softmax over an axis, and its logarithm."""

from __future__ import annotations

from temport.exporter.native.call import Call, Form
from temport.exporter.native.forms.ranks import axis_of, parted
from temport.exporter.native.sizes import fixed

_WIDEST = 16
"""Floats of the widest vector."""


def softmax(call: Call) -> None:
    x, y = call.input(0), call.output()
    before, size, after = parted(x.shape, axis_of(call, len(x.shape)))
    row = call.plan.room("float", fixed(-(-size.most // _WIDEST) * _WIDEST))
    log = "true" if call.node.op_type == "LogSoftmax" else "false"
    call.line(f"softmax<{log}>({x.code}, {before}, {size.code}, {after.code}, {y.code}, {row});")


FORMS: dict[str, Form] = {"LogSoftmax": softmax, "Softmax": softmax}
