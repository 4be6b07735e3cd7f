"""The compressing half of an export: a module whose weights take fewer bits, and the account of what that costs."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from temport.exporter.compress.compressed import compressed
from temport.exporter.compress.loss import Cost
from temport.exporter.compress.metric import metric_of
from temport.exporter.compress.mixture import mixture
from temport.exporter.compress.sums import sums, tensors_of
from temport.exporter.compress.wish import Wish
from temport.exporter.errors import UserError
from temport.exporter.graph.quantised import FLOAT32, SMALLEST, kinds_from
from temport.exporter.parity.cases import Case
from temport.exporter.parity.result import Compression, StoredWeight
from temport.exporter.runtimes.subject import Subject

USUAL = "normal"
"""The kind of generated cases that `--max-loss` holds for, where a user gives no inputs."""


def compress(
    module: nn.Module, source: Subject, cases: Sequence[Case], own: int, wish: Wish
) -> tuple[nn.Module, Compression]:
    """The module with its weights as they will be stored, and what that costs.

    source  what the oracle opens, with the trained module
    own     how many of the last cases are the user's

    UserError where nothing can be compressed, or where no mixture loses as little as was asked.
    """
    metric = metric_of(wish.metric)
    axes = sums(source, cases[0].inputs)
    if not axes:
        raise UserError(
            f"--weights-dtype {wish.kind} finds no weight of a dense or recurrent layer with {SMALLEST} numbers or "
            "more; leave it out"
        )
    weights = {name: tensors_of(module)[name].detach().numpy() for name in axes}
    types = {name: tuple(kinds_from(weight, axes[name], wish.kind)) for name, weight in weights.items()}
    judged = cases[len(cases) - own :] if own else [case for case in cases if case.kind == USUAL]
    kinds = {name: own[0] for name, own in types.items()}
    alone: dict[str, float] = {}
    cost = Cost(source, judged, axes, metric)
    if wish.max_loss is not None:
        kinds, alone = mixture(types, wish.max_loss, cost.worst)
    stored = {name: kind for name, kind in kinds.items() if kind != FLOAT32}
    return compressed(module, axes, stored), Compression(
        wish.kind,
        wish.max_loss,
        tuple(case.name for case in judged),
        tuple(StoredWeight(name, weights[name].shape, kind, alone.get(name)) for name, kind in kinds.items()),
        Cost(source, cases, axes).losses(stored),
        None if metric is None else metric.name,
        {} if metric is None else cost.measured(stored),
    )
