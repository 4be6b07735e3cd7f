"""The native forms of operators, one file per kind, and the table of them."""

from __future__ import annotations

from temport.exporter.native.call import Form
from temport.exporter.native.forms import (
    attention,
    dense,
    elementwise,
    movement,
    moving_average,
    normalise,
    picks,
    products,
    quantise,
    recurrent,
    reduce,
    softmax,
    windows,
)

FORMS: dict[str, Form] = {
    **attention.FORMS,
    **dense.FORMS,
    **elementwise.FORMS,
    **movement.FORMS,
    **moving_average.FORMS,
    **normalise.FORMS,
    **picks.FORMS,
    **products.FORMS,
    **quantise.FORMS,
    **recurrent.FORMS,
    **reduce.FORMS,
    **softmax.FORMS,
    **windows.FORMS,
}
"""Operator -> its form. Names of ai.onnx and of ours do not meet."""

REFUSED = {
    "Constant": "constants are no nodes of a plan",
    "Einsum": "it is no product of two operands along one axis",
    "If": "it holds graphs, and an engine runs one",
    "Loop": "it holds a graph, and an engine runs one",
    "Scan": "it holds a graph, and an engine runs one",
}
"""Standard operators without a form, and why."""
