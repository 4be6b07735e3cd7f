"""What the cases show of a model, whoever runs it: outputs that say nothing, and inputs that it cannot take."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from temport.exporter.declare.declaration import Axis, Declaration
from temport.exporter.parity.compare import EXACT, overflow, overflows
from temport.exporter.parity.oracle import Truth


def remarks(truths: Sequence[Truth], declaration: Declaration) -> tuple[str, ...]:
    """Sentences for the report's warnings."""
    return (
        *_constant(truths),
        *_nothing_counts(truths, declaration),
        *_not_finite(truths),
        *_overflowing(truths, declaration.precision),
    )


def _constant(truths: Sequence[Truth]) -> list[str]:
    """Outputs that are the same row whatever goes in: such a model would pass with its whole inside wrong."""
    found = []
    for name in truths[0].outputs if len(truths) > 1 else ():
        outputs = [t.outputs[name] for t in truths if t.outputs[name].ndim and t.outputs[name].size]
        if len({output.shape[-1] for output in outputs}) != 1:
            continue
        rows = np.concatenate([output.reshape(-1, output.shape[-1]) for output in outputs])
        rows = rows.astype(np.uint8) if rows.dtype == bool else rows
        with np.errstate(invalid="ignore"):
            moved = np.ptp(rows, axis=0).max()
        if moved <= EXACT * np.abs(rows).max():
            found.append(
                f"{name} is constant: nothing was tested; it is the same in every case, whatever the input"
            )
    return found


def _nothing_counts(truths: Sequence[Truth], declaration: Declaration) -> list[str]:
    """Masks with a row that excludes every entry, and what the source gives where a query is left without a key."""
    found = []
    for spec in declaration.inputs:
        if spec.dtype != "bool" or len(spec.shape) < 2 or not isinstance(spec.shape[-1], Axis):
            continue
        ignored = spec.values is not None and spec.values.ignore
        answers: dict[str, list[str]] = {}
        for truth in truths:
            if not (truth.case.inputs[spec.name] != ignored).any(axis=-1).all():
                lost = any(np.isnan(output).any() for output in truth.outputs.values())
                answers.setdefault("NaN" if lost else "numbers", []).append(truth.case.name)
        if answers:
            told = "; ".join(f"{answer} in {', '.join(names)}" for answer, names in answers.items())
            found.append(f"{spec.name} excludes every entry of a row, and the source gives {told}")
    return found


def _not_finite(truths: Sequence[Truth]) -> list[str]:
    names = [t.case.name for t in truths if any(not np.isfinite(o).all() for o in t.outputs.values())]
    if not names:
        return []
    more = f" and {len(names) - 1} more cases" if len(names) > 1 else ""
    return [f"the source itself gives NaN or infinity in float64: {names[0]}{more}"]


def _overflowing(truths: Sequence[Truth], precision: str) -> list[str]:
    names = [t.case.name for t in truths if any(overflows(b, precision) for b in t.bounds.values())]
    return [f"{overflow(precision)}: {name}" for name in names]
