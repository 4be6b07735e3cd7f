"""A module as its constructor makes it: seeded weights, eval mode."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import nn

from temport.exporter.errors import UserError


def seeded(make: Callable[[], nn.Module], seed: int) -> tuple[nn.Module, tuple[str, ...]]:
    """A module in eval mode, its initial weights drawn at `seed`, and what its constructor warned of.

    The caller's random generator is left as it was.
    """
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        torch.manual_seed(seed)
        module = make()
    if not isinstance(module, nn.Module):
        raise UserError(f"the factory returned {type(module).__name__}; it has to return a torch.nn.Module")
    return module.eval(), tuple(str(warning.message) for warning in caught)
