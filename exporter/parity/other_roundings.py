"""What rounding weights could have cost the source: its weights with errors as rounding makes them, drawn at random.

The graph rounds other numbers than the source does: weights that passes folded or multiplied, and not those that stay
in float32. To first order either cost is a sum over the weights of rounding error times slope, with errors that nobody
chose. The source's own rounding is one such sum: it may cancel by luck, and is 0 for weights that were trained in the
half type. So it says little about how large another one is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from temport.exporter.declare.copied import moved
from temport.exporter.parity.cases import Case
from temport.exporter.parity.compare import EPS, max_abs
from temport.exporter.runtimes import ORACLE, resolve
from temport.exporter.runtimes.contract import Arrays
from temport.exporter.runtimes.subject import Subject

ROUNDINGS = 23
"""As many as copies of a case where torch's errors are ruled by few elements, which is where luck counts."""


def costs_of_roundings(
    subject: Subject, expected: Mapping[str, tuple[Case, Arrays]], threads: int
) -> dict[str, dict[str, float]]:
    """The largest distance over all draws, by case and output; inf where one is not finite.

    expected  case name -> the case and what the source gives for it, float64
    """
    costs = {name: dict.fromkeys(outputs, 0.0) for name, (_, outputs) in expected.items()}
    assert subject.module is not None
    for draw in range(ROUNDINGS):
        module = moved(subject.module, EPS[subject.declaration.precision], draw)
        with resolve(ORACLE).open(replace(subject, module=module), threads) as source:
            for name, (case, outputs) in expected.items():
                found = source.run(case.inputs)
                for output, right in outputs.items():
                    costs[name][output] = max(costs[name][output], max_abs(found[output], right))
    return costs
