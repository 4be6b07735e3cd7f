"""The compressing half of an export: a module whose weights take fewer bits, and the account of what that costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import nn

from temport.exporter.compress.absorbed_keys import with_absorbed_keys
from temport.exporter.compress.activations import calibrated, dense_layers, with_rounded_inputs
from temport.exporter.compress.compressed import compressed
from temport.exporter.compress.loss import Cost
from temport.exporter.compress.metric import metric_of
from temport.exporter.compress.mixture import mixture
from temport.exporter.compress.own_memory import with_own_memory
from temport.exporter.compress.smoothing import smoothed
from temport.exporter.compress.sums import sums, tensors_of
from temport.exporter.compress.wish import Wish
from temport.exporter.declare.declaration import Declaration
from temport.exporter.errors import UserError
from temport.exporter.graph.quantised import FLOAT32, INT8, SMALLEST, kinds_from
from temport.exporter.parity.cases import Case
from temport.exporter.parity.result import Compression, RoundedInput, StoredWeight
from temport.exporter.parity.trial import Trial
from temport.exporter.runtimes.subject import Subject

USUAL = "normal"
"""The kind of generated cases that `--max-loss` holds for, where a user gives no inputs."""


def compress(
    module: nn.Module,
    declaration: Declaration,
    cases: Sequence[Case],
    own: int,
    wish: Wish,
    recorded: Sequence[Case] = (),
) -> tuple[nn.Module, Compression, dict[str, float]]:
    """The module with its weights as they will be stored, what that costs, and the scales of the layers that round
    what they take.

    module       as it was trained
    declaration  of that
    own          how many of the last cases are the user's
    recorded     what the scales are fitted to

    UserError where nothing can be compressed, or where no mixture loses as little as was asked.
    """
    metric = metric_of(wish.metric)
    module = as_given = with_own_memory(module)
    trained = source = Trial.of(declaration, Path(), module).source
    axes = sums(source, cases[0].inputs)
    if not axes:
        raise UserError(
            f"--weights-dtype {wish.kind} finds no weight of a dense or recurrent layer with {SMALLEST} numbers or "
            "more; leave it out"
        )
    judged = judged_cases(cases, own)
    # activations are rounded to the type of the weights, which every layer can have
    layers = {} if wish.activations is None else dense_layers(module, list(axes), wish.activations)
    evened: dict[str, str] = {}
    absorbed: tuple[str, ...] = ()
    if wish.activations is None:
        module, absorbed = with_absorbed_keys(module, declaration, axes, cases[0].inputs)
    elif wish.activations == INT8:
        module, evened = smoothed(module, source, cases[0].inputs, recorded, layers, axes)
    if module is not as_given:
        source = Trial.of(declaration, Path(), module).source
    weights = {name: tensors_of(module)[name].detach().numpy() for name in axes}
    types = {name: tuple(kinds_from(weight, axes[name], wish.kind)) for name, weight in weights.items()}
    scales = _scales(source, layers, wish, recorded)
    narrow = source.declaration.rounded_to
    types |= {_input_of(layer): (narrow, FLOAT32) for layer in scales}

    def split(kinds: Mapping[str, str]) -> tuple[dict[str, str], dict[str, float]]:
        """Types of weights, and scales of layers, whose weights are as narrow or not known to be others."""
        return {name: kind for name, kind in kinds.items() if name in weights and kind != FLOAT32}, {
            layer: scale
            for layer, scale in scales.items()
            if kinds.get(_input_of(layer)) == narrow and kinds.get(layers[layer], narrow) == narrow
        }

    kinds = {name: own[0] for name, own in types.items()}
    alone: dict[str, float] = {}
    cost = Cost(source, judged, axes, metric, trained)
    if wish.max_loss is not None:
        cost.check()
        kinds, alone = mixture(types, wish.max_loss, lambda kinds: cost.worst(*split(kinds)))
    stored, rounds = split(kinds)
    made = compressed(module, axes, stored)
    return (
        with_rounded_inputs(made, rounds, narrow) if rounds else made,
        Compression(
            wish.kind,
            wish.max_loss,
            tuple(case.name for case in judged),
            tuple(StoredWeight(name, w.shape, kinds[name], alone.get(name)) for name, w in weights.items()),
            Cost(source, cases, axes, trained=trained).losses(stored, rounds),
            None if metric is None else metric.name,
            {} if metric is None else cost.measured(stored, rounds),
            tuple(
                RoundedInput(layer, rounds.get(layer), alone.get(_input_of(layer)), evened.get(layer))
                for layer in scales
            ),
            absorbed=absorbed,
        ),
        rounds,
    )


def judged_cases(cases: Sequence[Case], own: int) -> Sequence[Case]:
    """The last `own` cases, which are the user's; where there are none the usual ones."""
    return cases[len(cases) - own :] if own else [case for case in cases if case.kind == USUAL]


def _input_of(layer: str) -> str:
    return f"input of {layer}"


def _scales(
    source: Subject, layers: Mapping[str, str], wish: Wish, recorded: Sequence[Case]
) -> dict[str, float]:
    """Of those layers that take anything, by name."""
    if wish.activations is None:
        return {}
    scales = calibrated(source, recorded, list(layers), wish.activations)
    if not scales:
        raise UserError(
            f"--activations {wish.activations} finds no dense layer (nn.Linear; MatMul or Gemm of a file) with "
            f"{wish.activations} weights that takes anything but 0 in the recordings; leave it out"
        )
    return scales
