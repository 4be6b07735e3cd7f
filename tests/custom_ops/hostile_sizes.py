"""Tensors without elements whose other axes are beyond all memory, and sizes that fit each other in 64 bits only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from case import Case, OpCases
from hostile import WRAPS, Hostile, alone
from one_node import NODE
from onnx import TensorProto, helper, numpy_helper

FAR, EMPTY = 2**62, 2**40
WRAPPED: dict[str, list[tuple[dict[str, Any], dict[str, Sequence[int]]]]] = {
    "OnlineSoftmaxAttention": [
        ({"num_heads": WRAPS, "kv_num_heads": WRAPS}, {"Q": (2, 400, 6)}),
        ({"num_heads": WRAPS - 1, "kv_num_heads": WRAPS - 1}, {"Q": (1, 4, 3)}),
        ({"num_heads": 4, "kv_num_heads": 2**63 - 2}, {"Q": (1, 4, 8)}),
        ({"num_heads": FAR, "kv_num_heads": FAR}, {"Q": (1, 2, 8), "K": (1, 2, 8), "V": (1, 2, 8)}),
        ({"num_heads": 4, "kv_num_heads": 1}, {"Q": (1, 2, 32), "K": (1, 0, 8), "V": (1, 0, FAR)}),
        ({"num_heads": 4, "kv_num_heads": 1}, {"Q": (1, 2, 32), "K": (1, 0, 8), "V": (1, 0, FAR + 1)}),
        ({"num_heads": 1, "kv_num_heads": 1}, {"Q": (1, 1, 8), "K": (1, 0, 8), "V": (1, 0, 2**30)}),
        ({"num_heads": 1, "kv_num_heads": 1}, {"Q": (0, EMPTY, 3 * 2**20)}),
        ({"window": 2**61, "query_offset": FAR}, {}),
        ({"window": FAR + 3, "query_offset": FAR}, {}),
        ({"window": 2**63 - 99, "query_offset": 2**63 - 100}, {}),
    ],
    "BlockLinearAttention": [
        ({"num_heads": WRAPS}, {"Q": (1, 8, 6)}),
        ({"num_heads": 1, "block_size": 1}, {"Q": (2**61, 0, 3)}),
        ({"num_heads": 4, "kv_num_heads": 2**63 - 2}, {"Q": (1, 4, 8)}),
        ({"num_heads": 4, "kv_num_heads": 1}, {"Q": (1, 4, 24)}),
    ],
    "CachedAttention": [
        (
            {"num_heads": 1},
            {"QKV": (0, 3 * EMPTY), "Keys": (0, EMPTY, EMPTY), "Values": (0, EMPTY, EMPTY), "Frames": (0, 1)},
        ),
    ],
    "FusedDense": [
        ({"groups": FAR}, {"X": (1, 0), "W": (FAR, 0, 4), "B": (0,)}),
        ({"groups": FAR}, {"X": (1, 0), "W": (FAR, 0, 0), "B": (0,)}),
        ({"groups": EMPTY}, {"X": (1, 0), "W": (EMPTY, 0, 0), "B": (0,)}),
        ({"groups": 2**20}, {"X": (1, 0), "W": (2**20, 0, 0), "B": (0,)}),
        ({}, {"X": (2**31, 2**31, 0), "W": (0, 4), "B": (4,)}),
        ({}, {"X": (EMPTY, 0), "W": (0, 4), "B": (4,)}),
        ({"groups": 2}, {"X": (3, 2, 4), "W": (2, 2, 4), "B": (8,)}),
    ],
    "FusedGRU": [
        ({"hidden_size": FAR}, {"X": (2, 1, 1), "W": (1, 0, 1), "R": (1, 0, FAR)}),
        ({"hidden_size": WRAPS}, {"X": (2, 1, 1), "W": (1, 2, 1), "R": (1, 2, 1)}),
        ({"hidden_size": 1}, {"X": (0, 2**59 + 1, 3), "W": (1, 3, 3), "R": (1, 3, 1)}),
        ({"hidden_size": 1}, {"X": (0, 2**38, 3), "W": (1, 3, 3), "R": (1, 3, 1)}),
    ],
    "FusedLSTM": [
        ({"hidden_size": FAR}, {"X": (2, 1, 1), "W": (1, 0, 1), "R": (1, 0, FAR)}),
        ({"hidden_size": FAR}, {"X": (2, 1, 0), "W": (1, 0, 0), "R": (1, 0, FAR), "B": (1, 0)}),
        ({"hidden_size": 1}, {"X": (0, 2**59 + 1, 3), "W": (1, 4, 3), "R": (1, 4, 1)}),
        ({"hidden_size": 1}, {"X": (0, 2**38, 3), "W": (1, 4, 3), "R": (1, 4, 1)}),
    ],
    "MovingAverage": [
        ({"channels": FAR, "taps": 4}, {"X": (1, 0, FAR), "Near": (FAR, 0, 1, 4), "Far": (FAR, 0, 1, 4)}),
        ({"channels": 2, "taps": 2}, {"X": (FAR, 0, 2), "Near": (2, 1, 1, 2), "Far": (2, 1, 1, 2)}),
        ({"channels": 2, "taps": 2000}, {"X": (1, 5, 2), "Near": (2, 1, 1, 2000), "Far": (2, 1, 1, 2000)}),
    ],
    "ResidualLayerNorm": [
        ({}, {"X": (0, 2**33, 2**33, 4), "Scale": (4,), "B": (4,)}),
        ({}, {"X": (2**32, 2**32, 0, 4), "Scale": (4,), "B": (4,)}),
    ],
}  # fmt: skip
"""By op: attributes and shapes that pass a check whose products and sums are not themselves checked."""


def hold(made: Hostile, name: str, dims: Sequence[int], constant: bool) -> Hostile:
    """An input without elements as a constant of the model, or made in the run."""
    graph = made.proto.graph
    (held,) = (i for i in graph.input if i.name == name)
    kind = held.type.tensor_type.elem_type
    graph.input.remove(held)
    if constant:
        graph.initializer.append(TensorProto(name=name, data_type=kind, dims=dims, raw_data=b""))
    else:
        graph.initializer.append(numpy_helper.from_array(np.array(dims), f"sizes_of_{name}"))
        nothing = numpy_helper.from_array(np.zeros(1, helper.tensor_dtype_to_np_dtype(kind)))
        graph.node.insert(0, helper.make_node("ConstantOfShape", [f"sizes_of_{name}"], [name], value=nothing))
    # The runtime itself refuses some, for the product of the axes that are not 0.
    return replace(made, says=f"{NODE}|Integer overflow")


def huge(table: OpCases, case: Case) -> Iterator[Hostile]:
    """Each axis of each input beyond all memory, the one after it 0."""
    for name, x in case.inputs.items():
        for far in range(x.ndim if x.ndim > 1 else 0):
            for size, constant in ((EMPTY, False), (2**59 + 1, False), (FAR, True), (FAR, False)):
                zero = (far + 1) % x.ndim
                dims = [size if axis == far else 0 if axis == zero else n for axis, n in enumerate(x.shape)]
                made = alone(table, case, f"{name}-huge{far}-{size}-{constant}", exact=False)
                yield hold(made, name, dims, constant)


def wrapped(table: OpCases, case: Case) -> Iterator[Hostile]:
    for i, (attributes, shapes) in enumerate(WRAPPED.get(table.op.name, [])):
        for constant in (True, False):
            yield sized(table, case, f"wrapped{i}-{constant}", attributes, shapes, constant)


def sized(
    table: OpCases,
    case: Case,
    name: str,
    attributes: Mapping[str, Any],
    shapes: Mapping[str, Sequence[int]],
    constant: bool,
) -> Hostile:
    """The case with these attributes, and with inputs of these shapes if any is given."""
    attributes = {**case.attributes, **attributes}
    empty = {n: shape for n, shape in shapes.items() if 0 in shape}
    kinds = {n: np.int64 if n == "Frames" else np.float32 for n in shapes}
    given = {n: np.ones((1,) if n in empty else shape, kinds[n]) for n, shape in shapes.items()}
    made = alone(
        table,
        Case(given or case.inputs, attributes),
        name,
        exact=not empty and attributes.keys() == case.attributes.keys(),
    )
    for n, dims in empty.items():
        made = hold(made, n, dims, constant)
    return made
