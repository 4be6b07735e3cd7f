"""Queries and keys of one head made by one weight, before weights are stored in fewer bits.

The pass `absorb_keys` multiplies two weights into one, `X Wq (Z Wk)^T = X (Wq Wk^T) Z^T`; of weights that were rounded
one by one the product fits no type of few bits. So the source gets the product in the place of Wq before, and in the
place of Wk the identity, which every type holds and the pass leaves out: it gives what it gave.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from temport.exporter.build import simplified, traced_source
from temport.exporter.compress.sums import tensors_of
from temport.exporter.declare.declaration import Declaration
from temport.exporter.graph.attention import Attention
from temport.exporter.graph.projection import Projection
from temport.exporter.logs import LOG
from temport.exporter.passes.absorb_keys import as_one, queries_and_keys
from temport.exporter.runtimes.contract import Arrays
from temport.exporter.runtimes.subject import Subject
from temport.exporter.runtimes.torch_eager import FLOAT64

SAME = 1e-4
"""Of an output's largest value: far more than the product's rounding to float32, far less than any other weight."""

_Place = tuple[str, int]
"""A tensor of the source, and the first of its outputs."""


def with_absorbed_keys(
    module: nn.Module, declaration: Declaration, axes: Mapping[str, int], inputs: Arrays
) -> tuple[nn.Module, tuple[str, ...]]:
    """A copy of `module` whose keys are what they were made of, wherever the pass leaves them out; and the names of the
    weights that made them. The module itself where there is none.

    declaration  of the model with its weights in fewer bits
    axes         of the inputs of each weight, by name
    inputs       of one call, in which the copy has to give the same: a weight may have other uses than these

    A step model has its keys in its state, and stays as it is.
    """
    if declaration.streaming or not axes or "absorb_keys" in declaration.without:
        return module, ()
    if not (pairs := _pairs(module, declaration)):
        return module, ()
    made, absorbed, taken = copy.deepcopy(module), list[str](), set[_Place]()
    source, copies = _by_output(module, axes), _by_output(made, axes)
    for queries, keys in pairs:
        both = as_one(queries, keys)
        new = [(keys.weight.T, np.eye(len(keys.weight), dtype=np.float32)), (queries.weight.T, both.weight.T)]
        if queries.bias is not None and queries.bias.any() and both.bias is not None:
            new.append((queries.bias, both.bias))  # that of the keys is nothing to a softmax
        places = [place for old, _ in new if (place := _only_place(source, old)) is not None]
        if len(taken.union(places)) < len(taken) + len(new):
            continue
        taken.update(places)
        absorbed.append(places[0][0])
        for (name, first), (old, numbers) in zip(places, new, strict=True):
            copies[name][first : first + len(old)] = torch.from_numpy(numbers.copy())
    if absorbed and not _gives_the_same(module, made, declaration, inputs):
        LOG.info("weights of queries and keys (%s) have other uses, and stay two", ", ".join(absorbed))
        return module, ()
    return (made, tuple(absorbed)) if absorbed else (module, ())


def _pairs(module: nn.Module, declaration: Declaration) -> list[tuple[Projection, Projection]]:
    """The layers of queries and of keys that become one."""
    graph = simplified(traced_source(module, declaration), declaration, until="absorb_projections").graph
    attentions = [x for node in graph if (x := Attention.of(node)) is not None]
    return [pair for x in attentions if (pair := queries_and_keys(x)) is not None]


def _by_output(module: nn.Module, axes: Mapping[str, int]) -> dict[str, Tensor]:
    """Weights and vectors of the source, their outputs first."""
    return {
        name: tensor.detach().movedim(axes.get(name, -1), -1)
        for name, tensor in tensors_of(module).items()
        if name in axes or tensor.ndim == 1
    }


def _only_place(source: Mapping[str, Tensor], numbers: npt.NDArray[Any]) -> _Place | None:
    """Where these numbers are outputs of a tensor that follow each other; None where nowhere, or not only there."""
    wanted = torch.from_numpy(numbers.copy())
    places = [
        (name, start)
        for name, outputs in source.items()
        if outputs.shape[1:] == wanted.shape[1:] and outputs.dtype == wanted.dtype
        for start in _first_inputs(outputs).eq(_first_inputs(wanted)[0]).nonzero().flatten().tolist()
        if torch.equal(outputs[start : start + len(wanted)], wanted)
    ]
    return places[0] if len(places) == 1 else None


def _first_inputs(outputs: Tensor) -> Tensor:
    return outputs if outputs.ndim == 1 else outputs[:, 0]


def _gives_the_same(one: nn.Module, other: nn.Module, declaration: Declaration, inputs: Arrays) -> bool:
    def outputs(module: nn.Module) -> Arrays:
        with FLOAT64.open(Subject(declaration, Path(), module)) as session:
            return session.run(inputs)

    right, given = outputs(one), outputs(other)
    return all(
        np.abs(given[name] - value.astype(np.float64)).max(initial=0) <= SAME * np.abs(value).max(initial=0)
        for name, value in right.items()
    )
