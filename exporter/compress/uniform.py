"""Every weight of a model in one type, where nothing is asked about what that costs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from torch import nn

from temport.exporter.compress.absorbed_keys import with_absorbed_keys
from temport.exporter.compress.compressed import compressed
from temport.exporter.compress.own_memory import with_own_memory
from temport.exporter.compress.sums import sums
from temport.exporter.declare.declaration import Declaration
from temport.exporter.graph.quantised import FLOAT32
from temport.exporter.parity.trial import Trial, cases_for


def in_one_type(module: nn.Module, declaration: Declaration, kind: str) -> nn.Module:
    """A copy of `module` with its weights in `kind`; the module itself where that is float32."""
    if kind == FLOAT32:
        return module
    module = with_own_memory(module)
    inputs = cases_for(declaration)[0].inputs
    axes = sums(Trial.of(declaration, Path(), module).source, inputs)
    module, _ = with_absorbed_keys(module, replace(declaration, weights_dtype=kind), axes, inputs)
    return compressed(module, axes, dict.fromkeys(axes, kind))
