"""Weights of the reference implementation -> a state_dict of this package's models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from temport.graphs.edifice_names import REFERENCE_STATE, Source
from temport.graphs.registry import find


def convert(arch: str, config: Any, tensors: Mapping[str, npt.NDArray[Any]]) -> dict[str, Tensor]:
    """The state_dict of architecture `arch` built with `config`, from tensors in the reference's names.

    Raises ValueError naming every tensor that is missing, is not part of the model, or has a wrong shape.
    """
    architecture = find(arch)
    if architecture is None or architecture.edifice is None:
        raise ValueError(
            f"the reference implementation has no {arch}, so its weights are in their own layout"
        )
    names = architecture.edifice(config)
    with torch.device("meta"):
        wanted = architecture.build(config).state_dict()
    expected = {key: _shape(wanted[own], source) for own, source in names.items() for key in source.keys}
    given = {key: tensor for key, tensor in tensors.items() if not key.endswith(REFERENCE_STATE)}
    problems = [f"{key} is missing" for key in expected if key not in given]
    problems += [f"{key} is not a tensor of this model" for key in given if key not in expected]
    problems += [
        f"{key} has shape {list(given[key].shape)}, expected {list(shape)}"
        for key, shape in expected.items()
        if key in given and given[key].shape != shape
    ]
    if problems:
        raise ValueError("; ".join(problems))
    return {own: _assemble(source, given) for own, source in names.items()}


def _shape(own: Tensor, source: Source) -> tuple[int, ...]:
    """Shape of one of the reference tensors that make up `own`."""
    shape = (own.shape[0] // len(source.keys), *own.shape[1:])
    return shape[::-1] if source.transposed else shape


def _assemble(source: Source, given: Mapping[str, npt.NDArray[Any]]) -> Tensor:
    parts = [given[key].T if source.transposed else given[key] for key in source.keys]
    return torch.from_numpy(np.concatenate(parts, axis=0))
