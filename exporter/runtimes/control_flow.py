"""Loop and Scan as ONNX defines them.

ONNX's evaluator joins what a loop collects along its first axis where ONNX stacks it along a new one, does not enter a
loop that has no condition, and knows only the first axis of a Scan.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import helper
from onnx.reference.op_run import OpRun

Array = npt.NDArray[Any]


class _WithBody(OpRun):
    """An operator that runs a graph inside it."""

    op_domain = ""
    body: Any

    def need_context(self) -> bool:
        """The body may read what was computed before."""
        return True


class Loop(_WithBody):
    def _run(
        self, limit: Any, going: Any, *state: Any, context: Any = None, **attributes: Any
    ) -> tuple[Any, ...]:
        held, count = list(state), len(state)
        rows: list[list[Array]] = [[] for _ in self.body.output_names[1 + count :]]
        going, turn = going is None or bool(np.all(going)), 0
        while going and (limit is None or turn < int(np.asarray(limit).item())):
            given = dict(zip(self.body.input_names, [np.array(turn), np.array(going), *held], strict=True))
            condition, *outputs = self.body.run(None, {**(context or {}), **given})
            going, held = bool(np.all(condition)), outputs[:count]
            for collected, row in zip(rows, outputs[count:], strict=True):
                collected.append(np.asarray(row))
            turn += 1
        kinds = self.body.output_types[1 + count :]
        return (
            *held,
            *(np.stack(row) if row else _none(kind) for row, kind in zip(rows, kinds, strict=True)),
        )


class Scan(_WithBody):
    num_scan_inputs: int

    def _run(self, *given: Array, context: Any = None, **attributes: Any) -> tuple[Any, ...]:
        count = len(given) - self.num_scan_inputs
        held, scanned = list(given[:count]), given[count:]
        collected = self.body.output_names[count:]
        axes, backwards = (self._each(f"scan_input_{what}", scanned) for what in ("axes", "directions"))
        rows: list[list[Array]] = [[] for _ in collected]
        length = scanned[0].shape[axes[0]]
        for turn in range(length):
            frames = [
                np.take(array, length - 1 - turn if back else turn, axis)
                for array, axis, back in zip(scanned, axes, backwards, strict=True)
            ]
            inside = dict(zip(self.body.input_names, [*held, *frames], strict=True))
            outputs = self.body.run(None, {**(context or {}), **inside})
            held = outputs[:count]
            for row, output in zip(rows, outputs[count:], strict=True):
                row.append(np.asarray(output))
        axes, backwards = (self._each(f"scan_output_{what}", collected) for what in ("axes", "directions"))
        kinds = self.body.output_types[count:]
        stacked = [
            np.stack(row[::-1] if back else row, axis) if row else _none(kind)
            for row, axis, back, kind in zip(rows, axes, backwards, kinds, strict=True)
        ]
        return (*held, *stacked)

    def _each(self, name: str, values: Any) -> list[int]:
        """The attribute, which is 0 for every value unless it is given."""
        return list(getattr(self, name, None) or [0] * len(values))


def _none(kind: Any) -> Array:
    """No row of that type, stacked."""
    tensor = kind.tensor_type
    return np.empty(
        (0, *(dim.dim_value for dim in tensor.shape.dim)), helper.tensor_dtype_to_np_dtype(tensor.elem_type)
    )


CONTROL_FLOW: list[type[OpRun]] = [Loop, Scan]
