"""Which weight gets which type, so that a model loses no more than it may: the most harmful ones get more bits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from temport.exporter.errors import UserError
from temport.exporter.graph.quantised import FLOAT32, WIDER

Measure = Callable[[Mapping[str, str]], float]
"""The loss of the model with these weights in these types, and the others as trained."""


def mixture(
    types: Mapping[str, Sequence[str]], limit: float, measure: Measure
) -> tuple[dict[str, str], dict[str, float]]:
    """The type of each weight, and the loss that it alone brings in the first of its types.

    types  of each weight, those that it may have, with ever more bits, float32 last

    One after the other, the weight that alone harms most gets the next wider type, until the whole model loses no more
    than `limit`. UserError where that leaves no weight in fewer bits, with the best that there is.
    """
    kinds = {name: own[0] for name, own in types.items()}
    total = measure(kinds)
    if total <= limit:
        return kinds, {}
    alone = {name: measure({name: kind}) for name, kind in kinds.items()}
    wider = {name: list(own[1:]) for name, own in types.items()}
    harm = dict(alone)
    best, least = dict(kinds), total
    while total > limit:
        name = max(harm, key=lambda name: (harm[name], name))
        kinds[name] = wider[name].pop(0)
        if kinds[name] == FLOAT32:
            del harm[name]
        else:
            harm[name] = measure({name: kinds[name]})
        if not harm:
            raise UserError(
                f"no mixture reaches --max-loss {limit:g}; the best one loses {least:.3g}: {told(best)}"
            )
        total = measure({name: kind for name, kind in kinds.items() if kind != FLOAT32})
        if total < least:
            best, least = dict(kinds), total
    return kinds, alone


def told(kinds: Mapping[str, str]) -> str:
    """How many weights have which type."""
    count = {kind: sum(k == kind for k in kinds.values()) for kind in (*WIDER, FLOAT32)}
    return ", ".join(f"{number} weights in {kind}" for kind, number in count.items() if number)
