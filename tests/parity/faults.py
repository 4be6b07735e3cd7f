"""Structural faults, put into the traced graph of a model: what a wrong tracer, pass or kernel would compute.

Each fault is a function of a graph (changed in place) that says whether the architecture has such a place.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

Fault = Callable[[ir.Model], bool]
ATTENTION = ("OnlineSoftmaxAttention", "CachedAttention")
BLOCKS = ("BlockLinearAttention", "CachedBlockLinearAttention")
WRONG = 1.1
LOST = 5


def _attentions(model: ir.Model, *ops: str) -> list[ir.Node]:
    return [node for node in model.graph if node.op_type in ops]


def window(change: int) -> Fault:
    """The window of every attention is longer or shorter by `change`; one without a window gets one, of its length."""

    def fault(model: ir.Model) -> bool:
        nodes = _attentions(model, "OnlineSoftmaxAttention")
        for node in nodes:
            length = node.inputs[0].shape[1]
            size = node.attributes["window"].as_int() or length
            if not node.attributes["causal"].as_int() or size + change > length:
                return False
            node.attributes["window"] = ir.AttrInt64("window", size + change)
        return bool(nodes)

    return fault


def block(change: int) -> Fault:
    """The blocks of block-linear attention are longer or shorter."""

    def fault(model: ir.Model) -> bool:
        nodes = _attentions(model, "BlockLinearAttention")
        for node in nodes:
            size = node.attributes["block_size"].as_int() + change
            node.attributes["block_size"] = ir.AttrInt64("block_size", size)
        return bool(nodes)

    return fault


def scaled_queries(model: ir.Model) -> bool:
    nodes = [n for n in _attentions(model, *ATTENTION, *BLOCKS) if "scale" in n.attributes]
    for node in nodes:
        node.attributes["scale"] = ir.AttrFloat32("scale", node.attributes["scale"].as_float() * WRONG)
    return bool(nodes)


def shifted_positions(model: ir.Model) -> bool:
    """Every frame has the encoding of the one before it."""
    return _change(model, lambda name: "position" in name, lambda array: np.roll(array, 1, axis=0))


def dropped_bias(model: ir.Model) -> bool:
    """The first bias that is not 0 is left out, of the first layer after the input's."""
    return _change(model, lambda name: name.endswith("bias"), np.zeros_like)


def swapped_halves(model: ir.Model) -> bool:
    """The two halves of what a gated layer makes are taken for each other; in an LSTM two of its gates."""
    gates = [n.inputs[1] for n in model.graph if n.op_type == "LSTM"]
    gates += [v for n in model.graph if n.op_type == "MatMul" and _feeds(n, "Sigmoid") for v in [n.inputs[1]]]
    for value in gates[:1]:
        array = value.const_value.numpy()
        axis = 1 if array.ndim == 3 else -1
        _set(value, np.roll(array, array.shape[axis] // 2, axis=axis))
    return bool(gates)


def wrong_channel(model: ir.Model) -> bool:
    """One output channel of the last dense layer is too large."""
    layers = [
        n for n in model.graph if n.op_type in ("MatMul", "Gemm") and n.inputs[1].const_value is not None
    ]
    node = layers[-1]
    array = np.array(node.inputs[1].const_value.numpy())
    transposed = "transB" in node.attributes and node.attributes["transB"].as_int()
    channel = int(np.argmax(np.abs(array).sum(axis=1 if transposed else 0)))
    array[(channel,) if transposed else (..., channel)] *= WRONG
    _set(node.inputs[1], array)
    return True


def swapped_frames(model: ir.Model) -> bool:
    """The last two frames come in each other's place."""
    length = model.graph.inputs[0].shape[1]
    if not isinstance(length, int) or length < 2:
        return False
    order = np.array([*range(length - 2), length - 1, length - 2])
    _before_all(model, "Gather", {"axis": 1}, ir.tensor(order, name="fault.order"))
    return True


def lost_frames(model: ir.Model) -> bool:
    """The frames before the last ones are read as zeros."""
    length = model.graph.inputs[0].shape[1]
    if not isinstance(length, int) or length <= LOST + 1:
        return False
    kept = np.ones((1, length, 1), np.float32)
    kept[:, -1 - LOST : -1] = 0
    _before_all(model, "Mul", {}, ir.tensor(kept, name="fault.kept"))
    return True


def stale_state(model: ir.Model) -> bool:
    """A state comes out as it went in."""
    for index, output in enumerate(model.graph.outputs):
        before = next((i for i in model.graph.inputs if f"next_{i.name}" == output.name), None)
        if before is not None and before.dtype in (ir.DataType.FLOAT,):
            node = ir.node("Identity", [before], name="fault.stale")
            made = node.outputs[0]
            made.type, made.shape = output.type, output.shape
            name, output.name = output.name, f"{output.name}.lost"
            made.name = name
            model.graph.append(node)
            model.graph.outputs[index] = made
            return True
    return False


def forgetful_state(model: ir.Model) -> bool:
    """A state keeps nine tenths of what it should."""
    for index, output in enumerate(model.graph.outputs):
        if (output.name or "").startswith("next_state") and output.dtype == ir.DataType.FLOAT:
            share = _constant(model, ir.tensor(np.array(0.9, np.float32), name="fault.share"))
            node = ir.node("Mul", [output, share], name="fault.forget")
            made = node.outputs[0]
            made.type, made.shape = output.type, output.shape
            name, output.name = output.name, f"{output.name}.whole"
            made.name = name
            model.graph.append(node)
            model.graph.outputs[index] = made
            return True
    return False


FAULTS: dict[str, Fault] = {
    "window one short": window(-1),
    "window one long": window(1),
    "block one short": block(-1),
    "block one long": block(1),
    "positions shifted": shifted_positions,
    "frames swapped": swapped_frames,
    "frames lost": lost_frames,
    "q times 1.1": scaled_queries,
    "bias dropped": dropped_bias,
    "gate swapped": swapped_halves,
    "one channel times 1.1": wrong_channel,
}
"""Of whole models."""
STEP_FAULTS: dict[str, Fault] = {
    "q times 1.1": scaled_queries,
    "bias dropped": dropped_bias,
    "positions shifted": shifted_positions,
    "gate swapped": swapped_halves,
    "one channel times 1.1": wrong_channel,
    "state not moved on": stale_state,
    "state times 0.9": forgetful_state,
}
"""Of step models: a window is the length of a cache there, and frames are the caller's."""


def _feeds(node: ir.Node, op: str) -> bool:
    """Whether `op` stands behind a dense layer, a bias between them or not."""
    users = [user for output in node.outputs for user, _ in output.uses()]
    users += [u for user in users if user.op_type == "Add" for o in user.outputs for u, _ in o.uses()]
    return any(user.op_type == op for user in users)


def _change(
    model: ir.Model, named: Callable[[str], bool], change: Callable[[np.ndarray], np.ndarray]
) -> bool:
    for name, value in model.graph.initializers.items():
        if named(name) and value.const_value is not None and np.any(value.const_value.numpy()):
            _set(value, change(value.const_value.numpy()))
            return True
    return False


def _set(value: ir.Value, array: np.ndarray) -> None:
    value.const_value = ir.tensor(np.ascontiguousarray(array), name=value.name)


def _constant(model: ir.Model, tensor: ir.TensorProtocol) -> ir.Value:
    value = ir.Value(
        name=tensor.name, type=ir.TensorType(tensor.dtype), shape=ir.Shape(tensor.shape), const_value=tensor
    )
    model.graph.register_initializer(value)
    return value


def _before_all(model: ir.Model, op: str, attributes: dict[str, int], constant: ir.TensorProtocol) -> None:
    """Put a node between the first input and all who read it."""
    value = model.graph.inputs[0]
    uses = list(value.uses())
    node = ir.node(op, [value, _constant(model, constant)], attributes, name="fault")
    made = node.outputs[0]
    made.name, made.type, made.shape = "fault.input", value.type, value.shape
    for user, index in uses:
        user.replace_input_with(index, made)
    model.graph.insert_before(model.graph[0], node)
