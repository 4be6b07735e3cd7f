"""The truth for each case: the torch source in float64, and how far torch itself strays from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from temport.exporter.errors import UserError
from temport.exporter.parity.cases import Case
from temport.exporter.parity.compare import CEILING, EPS, FLOOR_ULPS, bound, max_abs
from temport.exporter.parity.conditioning import JITTERS, JITTERS_OF_SENSITIVE, amplification, jittered
from temport.exporter.parity.result import Bound
from temport.exporter.runtimes import ORACLE, resolve
from temport.exporter.runtimes.contract import Arrays, Session
from temport.exporter.runtimes.subject import Subject
from temport.exporter.runtimes.torch_eager import TorchEager


@dataclass(frozen=True)
class Truth:
    """One case with its oracle outputs (float64) and the bound of each output."""

    case: Case
    outputs: Arrays
    bounds: dict[str, Bound]


def find_truths(subject: Subject, cases: Sequence[Case], threads: int = 1) -> tuple[Truth, ...]:
    """Run torch in float64 and in the model's precision over every case and its jittered copies."""
    if subject.module is None:
        raise UserError(
            "the torch source of this model is not at hand, so there is no oracle; "
            "give the module again, or replay the bundle's recorded vectors"
        )
    names = [case.name for case in cases]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UserError(f"two cases are called {twice}; give the input files different names")
    precision = subject.declaration.precision
    with (
        resolve(ORACLE).open(subject, threads) as oracle,
        TorchEager(precision).open(subject, threads) as torch,
    ):
        return tuple(find_truth(case, oracle, torch, precision) for case in cases)


def find_truth(case: Case, oracle: Session, torch: Session, precision: str) -> Truth:
    """`torch_error` is the worst over the case and its copies, so that one lucky rounding does not rule."""
    truth = {name: np.ascontiguousarray(output) for name, output in oracle.run(case.inputs).items()}
    scales = {name: float(np.abs(output).max(initial=0.0)) for name, output in truth.items()}
    errors = _distances(torch.run(case.inputs), truth)
    responses = dict.fromkeys(truth, 0.0)
    for draw in range(JITTERS_OF_SENSITIVE):
        if draw >= JITTERS and not any(_sensitive(errors[n], scales[n], precision) for n in truth):
            break
        inputs = jittered(case, draw, precision)
        moved = oracle.run(inputs)
        errors = _worse(errors, _distances(torch.run(inputs), moved))
        responses = _worse(responses, _distances(moved, truth))
    bounds = {
        name: bound(output, errors[name], amplification(responses[name], scales[name], precision), precision)
        for name, output in truth.items()
    }
    return Truth(case, truth, bounds)


def _sensitive(torch_error: float, scale: float, precision: str) -> bool:
    """Above the bound's fixed floor and below the ceiling: more copies can change what is allowed."""
    return FLOOR_ULPS * EPS[precision] * scale < torch_error <= CEILING[precision] * scale


def _worse(a: dict[str, float], b: dict[str, float]) -> dict[str, float]:
    return {name: float(np.maximum(a[name], b[name])) for name in a}


def _distances(actual: Arrays, expected: Arrays) -> dict[str, float]:
    return {name: max_abs(actual[name], expected[name]) for name in expected}
