"""Where the sizes of a dense layer's inputs can be moved to, entry by entry, without any rounding.

A chain begins with what has a factor for each entry of the last axis: a dense layer, a normalisation, a product with a
vector. It leads over what carries such factors on (ReLU, a product with something else, a sum with a vector, which then
is scaled along) to dense layers and nowhere else. Powers of two that are divided out at its beginning and multiplied
into the weights at its end leave every number behind it as it was. The form is that of SmoothQuant (Xiao et al. 2022,
arXiv:2211.10438, equation 3).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Factor:
    """A parameter and its axis with an entry for each of the value's last axis."""

    name: str
    axis: int


@dataclass(frozen=True)
class Step:
    """One operation.

    takes    values; those that it only reads beside, where it carries others, are a step of their own
    gives    values
    begins   what it gives is scaled as these are
    carries  what it gives is scaled as what it takes is, if the vectors `along` are too
    layer    the dense layer that it is, whose weight is `weight`
    reads    parameters that it reads otherwise
    """

    takes: tuple[Hashable, ...]
    gives: tuple[Hashable, ...]
    begins: tuple[Factor, ...] = ()
    carries: bool = False
    along: tuple[Factor, ...] = ()
    layer: str | None = None
    weight: str | None = None
    reads: tuple[str, ...] = ()


@dataclass(frozen=True)
class Chain:
    """What is divided, and the layers whose weights are multiplied."""

    factors: tuple[Factor, ...]
    layers: tuple[str, ...]


def chains(steps: Sequence[Step], results: Collection[Hashable], layers: Collection[str]) -> Iterator[Chain]:
    """Every chain to some of these layers; no layer and no parameter is in two.

    results  values that the model gives, and names of parameters among them
    """
    users: dict[Hashable, list[Step]] = defaultdict(list)
    for step in steps:
        for value in step.takes:
            users[value].append(step)
    read = Counter(name for step in steps for name in _parameters(step))
    taken: set[str] = set()
    for step in steps:
        if not step.begins:
            continue
        found = _chain(step, users, results, layers)
        if found is None:
            continue
        weights = [s.weight for s in steps if s.layer in found.layers and s.weight is not None]
        names = [*(factor.name for factor in found.factors), *weights]
        claimed = {*(factor.name for factor in found.factors), *found.layers}
        alone = all(read[name] == 1 and name not in results for name in names)
        if alone and len(weights) == len(found.layers) and not claimed & taken:
            taken |= claimed
            yield found


def _parameters(step: Step) -> list[str]:
    """Once each, however it reads them."""
    own = {factor.name for factor in (*step.begins, *step.along)} | set(step.reads)
    return sorted(own | ({step.weight} if step.weight is not None else set()))


def _chain(
    first: Step,
    users: dict[Hashable, list[Step]],
    results: Collection[Hashable],
    layers: Collection[str],
) -> Chain | None:
    factors, ends = list(first.begins), []
    pending, seen = list(first.gives), set(first.gives)
    while pending:
        value = pending.pop()
        if value in results:
            return None
        for step in users[value]:
            if step.layer is not None and step.layer in layers:
                ends.append(step.layer)
            elif step.carries and not seen & set(step.gives):
                factors += step.along
                pending += step.gives
                seen |= set(step.gives)
            else:
                return None
    return Chain(tuple(factors), tuple(ends)) if ends and len(set(ends)) == len(ends) else None
