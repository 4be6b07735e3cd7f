"""Positions that a graph counts, as arange does: computed of the counter, so that they never end.

Each value has the batch in front of its own axes, for every stream has a counter of its own.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from temport.exporter.graph import operators
from temport.exporter.graph.edit import named
from temport.exporter.graph.standard_operator import is_standard
from temport.exporter.streaming.shapes import Size, axes_of_time, entries, frame_size
from temport.exporter.streaming.states import reshaped
from temport.exporter.streaming.step import Step
from temport.exporter.streaming.waves import Waves, counted_waves

Constant = Callable[[ir.Value], np.ndarray | None]
"""What a value is at all lengths; None where it follows the length."""


PHASES = {"Sin": 0.0, "Cos": np.pi / 2}
ANGLES = ("Range", "Cast", "Unsqueeze", "Mul", "Div", "Add", "Sub")
"""What a module makes of positions to have an angle."""
COUNTED = ""
"""In the place of sizes to go with: the batch stands in front of its own axes."""


class Counting:
    """Values of sizes alone at the entry that is held with `delay`, as far as they are counted.

    always  says what is the same at all lengths
    """

    def __init__(self, step: Step, delay: int, always: Constant) -> None:
        self.step, self.delay, self.always = step, delay, always

    def counted(self, value: ir.Value) -> ir.Value | None:
        """`[batch, *shape]` with time of size 1; None where something else than counting is in it."""
        node = value.producer()
        if node is None or value.shape is None or not is_standard(node) or value.dtype is None:
            return None
        key = (value, self.delay, COUNTED)
        if key not in self.step.in_frame:
            if node.op_type == "Range":
                here = self._range(node, value)
            elif node.op_type in PHASES and (waves := self._waves(node, value)) is not None:
                here = waves
            elif operators.of(node).elementwise:
                here = self._each(node, value)
            elif node.op_type == "Unsqueeze":
                here = self._unsqueezed(node, value)
            else:
                here = self._joined(node, value) if node.op_type == "Concat" else None
            if here is None:
                return None
            self.step.in_frame[key] = here
        return self.step.in_frame[key]

    def _range(self, node: ir.Node, value: ir.Value) -> ir.Value | None:
        start, limit, delta = node.inputs
        if start is None or limit is None or delta is None or value.dtype is None:
            return None
        first, by = self.always(start), self.always(delta)
        if first is None or by is None:
            return None
        assert value.shape is not None
        rows = entries(value.shape[0]) or 1
        shape, name = [self.step.batch, 1], named(value, "counted")
        here = self.step.frames(self.delay)
        if self.delay > 0:
            here = self.step.add("Max", [here, self.step.integers(0)], shape, f"{name}/from_0")
        if rows > 1:
            here = self.step.add("Mul", [here, self.step.integers(rows)], shape, f"{name}/times_{rows}")
            shape = [self.step.batch, rows]
            here = self.step.add("Add", [here, self.step.integers(*range(rows))], shape, f"{name}/of_{rows}")
        if value.dtype != ir.DataType.INT64:
            here = self.step.add(
                "Cast", [here], shape, f"{name}/cast", {"to": int(value.dtype)}, dtype=value.dtype
            )
        for op, number, nothing in (("Mul", by, 1), ("Add", first, 0)):
            if number.reshape(-1)[0] != nothing:
                factor = self.step.constant(f"{name}/{op.lower()}", number.reshape(-1)[0], number.dtype)
                here = self.step.add(op, [here, factor], shape, f"{name}/{op.lower()}ed")
        return here

    def _waves(self, node: ir.Node, value: ir.Value) -> ir.Value | None:
        """Of an angle that grows by the same at every position: float32 has no sine of large angles."""
        angle = self._angle(node.inputs[0])
        if angle is None or value.shape is None or value.dtype is None:
            return None
        sizes: list[Size] = [frame_size(d) for d in value.shape]
        dims = [d for d in sizes if isinstance(d, int)]
        if dims != sizes:
            return None
        speed, phase = (np.broadcast_to(each, dims).reshape(-1).astype(np.float64) for each in angle)
        name = named(value, "counted")
        waves = Waves(speed, phase + PHASES[node.op_type])
        here = counted_waves(self.step, waves, self.delay, value.dtype, name)
        return reshaped(self.step, here, [self.step.batch, *dims], f"{name}/axes")

    def _angle(self, value: ir.Value | None) -> tuple[np.ndarray, np.ndarray] | None:
        """float64 `(speed, offset)` where a value is `speed * frame + offset`, time of size 1 or as in one frame."""
        node = None if value is None else value.producer()
        if value is None or node is None or not is_standard(node) or node.op_type not in ANGLES:
            return None
        if node.op_type == "Range":
            first, by = (None if v is None else self.always(v) for v in (node.inputs[0], node.inputs[2]))
            if first is None or by is None or value.shape is None:
                return None
            rows = entries(value.shape[0]) or 1
            return by.reshape(1) * rows, first.reshape(1) + by.reshape(1) * np.arange(rows)
        given = [self._angle(v) for v in node.inputs]
        constants = [None if v is None else self.always(v) for v in node.inputs]
        if given[0] is None and node.op_type in ("Mul", "Add"):
            given, constants = given[::-1], constants[::-1]
        if given[0] is None:
            return None
        speed, offset = given[0]
        if node.op_type == "Cast":
            whole = value.dtype is None or not value.dtype.is_floating_point()
            return None if whole else (speed.astype(np.float64), offset.astype(np.float64))
        if constants[1] is None:
            return None
        if node.op_type == "Unsqueeze":
            axes = tuple(int(a) for a in constants[1].reshape(-1))
            return np.expand_dims(speed, axes), np.expand_dims(offset, axes)
        other = constants[1].astype(np.float64)
        match node.op_type:
            case "Mul":
                return speed * other, offset * other
            case "Div" if value.dtype is None or not value.dtype.is_floating_point():
                # of whole numbers the quotient is one, and grows by the same only where nothing is left over
                return None if (speed % other).any() else (speed // other, offset // other)
            case "Div":
                return speed / other, offset / other
            case "Add":
                return speed, offset + other
            case _:
                return speed, offset - other

    def _each(self, node: ir.Node, value: ir.Value) -> ir.Value | None:
        assert value.shape is not None
        rank, inputs = len(value.shape), list[ir.Value | None]()
        for given in node.inputs:
            here = None if given is None else self._operand(given, rank)
            if given is not None and here is None:
                return None
            inputs.append(here)
        shape = [self.step.batch, *map(frame_size, value.shape)]
        attributes = {key: a.value for key, a in node.attributes.items()}
        return self.step.add(
            node.op_type, inputs, shape, named(value, "counted"), attributes, dtype=value.dtype
        )

    def _operand(self, value: ir.Value, rank: int) -> ir.Value | None:
        """A constant as it is, else what is counted with as many axes as the result has behind the batch."""
        constant = self.always(value)
        if constant is not None:
            return self.step.constant(named(value, "always"), constant, constant.dtype)
        here = self.counted(value)
        if here is None or here.shape is None:
            return None
        own = list(here.shape)[1:]
        sizes: list[Size] = [self.step.batch, *[1] * (rank - len(own)), *own]
        return reshaped(self.step, here, sizes, f"{here.name}/axes_{rank}")

    def _unsqueezed(self, node: ir.Node, value: ir.Value) -> ir.Value | None:
        given = node.inputs[0]
        here = None if given is None else self.counted(given)
        if here is None or value.shape is None:
            return None
        sizes = [self.step.batch, *map(frame_size, value.shape)]
        return reshaped(self.step, here, sizes, named(value, "counted"))

    def _joined(self, node: ir.Node, value: ir.Value) -> ir.Value | None:
        assert value.shape is not None
        axis = node.attributes["axis"].as_int() % len(value.shape)
        if axes_of_time(list(value.shape)) == [axis]:
            return None
        inputs = [None if given is None else self.counted(given) for given in node.inputs]
        if any(here is None for here in inputs):
            return None
        shape = [self.step.batch, *map(frame_size, value.shape)]
        return self.step.add("Concat", inputs, shape, named(value, "counted"), {"axis": axis + 1})
