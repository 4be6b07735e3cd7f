"""Frames and keys that an output does not see: whatever they hold, NaN and infinity too, it must stay as it is.

Which these are is asked of the torch source: other numbers there leave rows of the output as they are, to the last
bit, which a nudge of all numbers does not. Plain operators multiply a masked key by a weight of 0, which NaN
survives; torch, function bodies and other vendors' runtimes do so, and the report says it. Native kernels do not read
such a key, and are held to that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from temport.exporter.declare.declaration import Axis, Declaration, TensorSpec
from temport.exporter.graph.graph_alone import graph_alone
from temport.exporter.graph.standard_operator import is_standard
from temport.exporter.parity.cases import FLOATS
from temport.exporter.parity.compare import max_abs
from temport.exporter.parity.oracle import Truth
from temport.exporter.runtimes import ORACLE, resolve
from temport.exporter.runtimes.contract import Arrays, Session
from temport.exporter.runtimes.subject import Subject
from temport.graphs.registry import ARCHITECTURES

SIZES = (1.0, 30.0, -30.0, 1e3)
"""Of the numbers that are tried: small ones may leave every relu behind them as it is."""
NUDGE = 2.0**-20
"""By which every number is changed, relatively, to ask what answers at all."""
POISON = {"NaN": np.nan, "infinity": np.inf}
Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Place:
    """Rows of inputs, and what of the outputs does not see them.

    what    the rows in words
    rows    bool `[batch, time]` by input
    apart   bool, of each output's shape: what stays as it is
    """

    what: str
    rows: dict[str, Mask]
    apart: dict[str, Mask]


@dataclass
class Unseen:
    """The places of one case, and the runtimes in which NaN or infinity left them."""

    truth: Truth
    places: tuple[Place, ...]
    reached: dict[str, str] = field(default_factory=dict)

    def check(self, name: str, session: Session, subject: Subject) -> str:
        """Why the runtime fails: it has only kernels that do not read what is masked, and NaN came through."""
        told = next(filter(None, (self._told(session, place) for place in self.places)), "")
        if not told:
            return ""
        if _reads_no_masked_key(session, subject):
            return told
        self.reached[name] = told
        return ""

    def remarks(self) -> tuple[str, ...]:
        """Of the runtimes that are not held to it."""
        runtimes: dict[str, list[str]] = {}
        for name, told in self.reached.items():
            runtimes.setdefault(told, []).append(name)
        return tuple(
            f"{told}, in {', '.join(names)}: a weight of 0 does not stop it"
            for told, names in runtimes.items()
        )

    def _told(self, session: Session, place: Place) -> str:
        """What comes through from this place; empty where nothing does."""
        for word, poison in POISON.items():
            try:
                outputs = session.run(_replaced(self.truth.case.inputs, place.rows, poison))
            except Exception:  # a runtime may refuse such numbers, which keeps them out, too
                continue
            for name, apart in place.apart.items():
                allowed = self.truth.bounds[name].allowed
                if allowed is None or outputs[name].shape != apart.shape:
                    continue
                if max_abs(outputs[name][apart], self.truth.outputs[name][apart]) > allowed:
                    return f"{word} in {place.what} reaches {name}, which does not see it"
        return ""


def find_unseen(subject: Subject, truth: Truth) -> Unseen | None:
    """The places of a case; None where the torch source is not at hand, or sees everything everywhere."""
    if subject.module is None or subject.declaration.streaming:
        return None
    inputs = truth.case.inputs
    with resolve(ORACLE).open(subject) as oracle:
        clean = oracle.run(inputs)
        found, answers = [], None
        for what, rows in _candidates(subject.declaration, inputs):
            moved = [oracle.run(_replaced(inputs, rows, None, size)) for size in SIZES]
            if not all(any((output == m[name]).any() for name, output in clean.items()) for m in moved):
                continue
            answers = answers or oracle.run(_nudged(inputs))
            apart = {
                spec.name: _stays(clean[spec.name], [m[spec.name] for m in moved], answers[spec.name])
                & ~_own(subject.declaration, spec, rows)
                for spec in subject.declaration.outputs
            }
            if any(same.any() for same in apart.values()):
                found.append(Place(what, rows, apart))
    return Unseen(truth, tuple(found)) if found else None


def _candidates(declaration: Declaration, inputs: Arrays) -> Iterator[tuple[str, dict[str, Mask]]]:
    """Rows that a mask excludes, and the first and the last row of every axis of time."""
    sequences: dict[Axis | int, dict[str, Mask]] = {}
    for spec in _sequences(declaration):
        of_axis = sequences.setdefault(spec.shape[1], {})
        of_axis[spec.name] = np.zeros(inputs[spec.name].shape[:2], bool)
    for spec in declaration.inputs:
        if spec.dtype == "bool" and len(spec.shape) > 1 and spec.shape[-1] in sequences:
            given = inputs[spec.name] != (spec.values is not None and spec.values.ignore)
            asked = given.reshape(len(given), -1, given.shape[-1]).any(axis=1)
            rows = sequences[spec.shape[-1]]
            if not asked.all():
                yield f"a row that {spec.name} excludes", {n: zeros | ~asked for n, zeros in rows.items()}
    told = {dim for spec in declaration.outputs for dim in spec.shape}
    for rows in sequences.values():
        places = {"first": 0}
        if told & set(sequences):  # the one output of a sequence sees its last frame
            places["last"] = -1
        for word, place in places.items():
            chosen = {name: zeros.copy() for name, zeros in rows.items()}
            for mask in chosen.values():
                mask[:, place] = True
            yield f"the {word} row of {' and '.join(chosen)}", chosen


def _sequences(declaration: Declaration) -> Iterator[TensorSpec]:
    """Inputs `[batch, time, features]` of numbers; what is added to scores, `[heads, time, time]`, is none."""
    for spec in declaration.inputs:
        if len(spec.shape) != 3 or not isinstance(spec.shape[1], Axis) or spec.dtype not in FLOATS:
            continue
        if spec.shape[1] != spec.shape[2]:
            yield spec


def _stays(clean: Array, moved: Sequence[Array], answers: Array) -> Mask:
    """Rows that are as they were, of those that answer to anything: a relu may hold elements at 0 whatever it sees."""
    same, alive = np.logical_and.reduce([clean == m for m in moved]), clean != answers
    rows = same.all(-1, keepdims=True) & alive.any(-1, keepdims=True) if clean.ndim > 1 else same & alive
    return np.broadcast_to(rows, clean.shape)


def _own(declaration: Declaration, output: TensorSpec, rows: dict[str, Mask]) -> Mask:
    """The rows of an output that belong to these rows of the inputs: a lone key has its whole weight whatever its
    query holds, and still NaN of the query is in its row.
    """
    specs = [spec for spec in declaration.inputs if spec.name in rows and spec.shape[:2] == output.shape[:2]]
    own = [rows[spec.name] for spec in specs]
    if not own:
        return np.zeros(1, bool)
    return np.logical_or.reduce(own).reshape(*own[0].shape, *[1] * (len(output.shape) - 2))


def _replaced(inputs: Arrays, rows: dict[str, Mask], value: float | None, size: float = 1.0) -> Arrays:
    """The inputs with `value` in these rows; where it is None, with other numbers than before, drawn anew."""
    changed, rng = dict(inputs), np.random.default_rng(0)
    for name, mask in rows.items():
        array = inputs[name].copy()
        drawn = rng.standard_normal((np.count_nonzero(mask), *array.shape[2:]))
        array[mask] = size * drawn if value is None else value
        changed[name] = array
    return changed


def _nudged(inputs: Arrays) -> Arrays:
    """All numbers a little off: what does not move then, a relu at 0 say, tells nothing about who sees what."""
    return {
        name: array
        if array.dtype.kind in "biu"
        else (array.astype(np.float64) * (1 + NUDGE)).astype(array.dtype)
        for name, array in inputs.items()
    }


def _reads_no_masked_key(session: Session, subject: Subject) -> bool:
    """Native kernels run every op of ours, in a model of ours in which no plain operators attend."""
    if subject.declaration.arch not in ARCHITECTURES:
        return False
    if "native kernels" not in session.path or "body" in session.path:
        return False
    return not any(is_standard(node, "Softmax", "Attention") for node in graph_alone(subject.model_path).node)
