"""Inputs of dense layers whose entries differ much in size, evened out before they are rounded to int8.

A layer has one scale for all entries of its input, and the largest entry decides it. A power of two for each entry is
divided out of what makes the input and multiplied into the layer's weight (chains.py), so the model computes what it
did, to the last bit, and rounds less.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from temport.exporter.compress.activations import best_scale, taken_by
from temport.exporter.compress.chain_steps import steps_of
from temport.exporter.compress.chains import Chain, chains
from temport.exporter.compress.sums import tensors_of
from temport.exporter.graph.quantised import INT8, nearest, quantised
from temport.exporter.parity.cases import Case
from temport.exporter.runtimes.contract import Arrays
from temport.exporter.runtimes.subject import Subject

Array = npt.NDArray[np.float64]

SHARES = (0.25, 0.5, 0.75)
"""How much of an input's size goes into the weight: alpha of SmoothQuant."""
WORTH = 0.9
"""Of the squared error: what gains less is left as it was trained."""
ROWS = 256
"""Of a recording, that errors are measured on."""
FARTHEST = 20
"""Exponents of the powers: with them no weight of a model leaves the range of float32."""


def smoothed(
    module: nn.Module,
    subject: Subject,
    inputs: Arrays,
    recorded: Sequence[Case],
    layers: Mapping[str, str],
    axes: Mapping[str, int],
) -> tuple[nn.Module, dict[str, str]]:
    """A copy of `module` with evened inputs, and by layer what its powers of two were divided out of.

    subject   what the oracle opens, with that module
    inputs    of one call, which shows where the chains are: a recording may be longer than any call
    recorded  what the sizes are taken from
    layers    name -> name of its weight
    axes      of the inputs of each weight

    A chain whose products are no nearer to those of the trained layers stays as it is.
    """
    found = list(chains(*steps_of(subject, inputs), layers))
    if not found:
        return module, {}
    ends = [layer for chain in found for layer in chain.layers]
    seen = taken_by(subject, recorded, ends)
    made, moved = copy.deepcopy(module), dict[str, str]()
    tensors = tensors_of(made)
    for chain in found:
        if not all(layer in seen for layer in chain.layers):
            continue
        weights = [
            np.moveaxis(tensors[layers[layer]].detach().double().numpy(), axes[layers[layer]], -1)
            for layer in chain.layers
        ]
        powers = chosen([seen[layer] for layer in chain.layers], weights)
        sizes = {tensors[factor.name].shape[factor.axis] for factor in chain.factors}
        if powers is not None and sizes == {len(powers)}:
            _move(chain, powers, tensors, layers, axes)
            moved |= dict.fromkeys(chain.layers, chain.factors[0].name)
    return (made, moved) if moved else (module, {})


def chosen(inputs: Sequence[Array], weights: Sequence[Array]) -> Array | None:
    """The powers of two, `[K]`, by which the layers' products lose least when both factors are rounded to int8; None
    where that is hardly less than without any.

    inputs   of each layer, `[rows, K]`, of one chain
    weights  `[N, K]`
    """
    size = np.max([np.abs(x).max(0) for x in inputs], 0)
    reach = np.max([np.abs(w).max(0) for w in weights], 0)
    few = [x[:: 1 + len(x) // ROWS] for x in inputs]
    even = np.ones_like(size)
    errors: dict[float | None, float] = {None: _error(few, weights, even)}
    tried: dict[float | None, Array] = {None: even}
    there = (size > 0) & (reach > 0)
    for share in SHARES if there.any() else ():
        wish = share * np.log2(size, where=there, out=np.zeros_like(size))
        wish -= (1 - share) * np.log2(reach, where=there, out=np.zeros_like(size))
        exponents = np.where(there, np.rint(wish - np.median(wish[there])), 0)
        tried[share] = np.exp2(np.clip(exponents, -FARTHEST, FARTHEST))
        errors[share] = _error(few, weights, tried[share])
    best = min(errors, key=errors.__getitem__)
    return None if best is None or errors[best] > WORTH * errors[None] else tried[best]


def _error(inputs: Sequence[Array], weights: Sequence[Array], powers: Array) -> float:
    """Squared, of all products, each layer's as a share of its own."""
    total = 0.0
    for x, w in zip(inputs, weights, strict=True):
        scale = best_scale((x / powers).reshape(-1), INT8)
        if scale == 0:
            continue
        rounded = nearest(x / powers / scale, INT8) * scale
        stored = quantised((w * powers).astype(np.float32), 1, INT8).astype(np.float64)
        right = x @ w.T
        total += float(np.square(right - rounded @ stored.T).sum() / max(np.square(right).sum(), 1e-300))
    return total


def _move(
    chain: Chain,
    powers: Array,
    tensors: Mapping[str, torch.Tensor],
    layers: Mapping[str, str],
    axes: Mapping[str, int],
) -> None:
    def along(name: str, axis: int) -> torch.Tensor:
        shape = [-1 if a == axis % tensors[name].ndim else 1 for a in range(tensors[name].ndim)]
        return torch.from_numpy(powers).to(tensors[name].dtype).reshape(shape)

    with torch.no_grad():
        for factor in chain.factors:
            tensors[factor.name].div_(along(factor.name, factor.axis))
        for layer in chain.layers:
            name = layers[layer]
            tensors[name].mul_(along(name, axes[name]))
