"""Inputs of dense layers rounded to int8 times a scale, in the module itself: where, by which scales, and how.

The module then computes what the file says, in any type: it is the oracle, and its trace has the rounding in it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from temport.exporter.compress.sums import tensors_of
from temport.exporter.declare.call import own
from temport.exporter.declare.declaration import Declaration
from temport.exporter.errors import UserError
from temport.exporter.graph.quantised import short
from temport.exporter.parity.cases import Case
from temport.exporter.parity.rounded_inputs import LEAST, MOST, Rounding
from temport.exporter.runtimes.contract import Arrays
from temport.exporter.runtimes.subject import Subject
from temport.exporter.runtimes.torch_eager import FLOAT64
from temport.exporter.streaming.oracle import WholeStream

Array = npt.NDArray[np.float64]

MOST_KEPT = 1 << 18
"""Numbers of an input that its scale is chosen from: of more, every so manyth."""
_CLIPS = np.geomspace(1.0, 0.02, 60)
"""Shares of the largest number that are tried as the largest representable one."""


def dense_layers(module: nn.Module, weights: Sequence[str]) -> dict[str, str]:
    """Name of each `nn.Linear` of the source whose weight is one of these -> the name of its weight."""
    names = {id(tensor): name for name, tensor in tensors_of(module).items() if name in weights}
    return {
        name: names[id(part.weight)]
        for name, part in _source(module).named_modules()
        if isinstance(part, nn.Linear) and id(part.weight) in names
    }


def with_rounded_inputs(module: nn.Module, scales: Mapping[str, float]) -> nn.Module:
    """A copy of `module` whose layers, by name, round what they take. UserError for a layer that it has not."""
    made = copy.deepcopy(module)
    parts = dict(_source(made).named_modules())
    for name, scale in scales.items():
        if name not in parts:
            raise UserError(f"the bundle rounds the input of {name}, a layer that the module has not")
        parts[name].register_forward_pre_hook(Rounding(scale))
    return made


@contextmanager
def rounding(module: nn.Module, scales: Mapping[str, float]) -> Iterator[None]:
    """The layers of `module` itself round what they take, for a while."""
    parts = dict(_source(module).named_modules())
    handles = [parts[name].register_forward_pre_hook(Rounding(scale)) for name, scale in scales.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def calibrated(subject: Subject, cases: Sequence[Case], layers: Sequence[str]) -> dict[str, float]:
    """The scale of each layer's input over all cases, by name; of a layer that is not called, or takes nothing but 0,
    none.

    subject  what the oracle opens
    """
    session = FLOAT64.open(subject)
    parts = dict(_source(session.module).named_modules())
    seen: dict[str, list[Array]] = {}

    def keep(name: str) -> Any:
        def hook(_: nn.Module, inputs: tuple[Any, ...]) -> None:
            seen.setdefault(name, []).append(inputs[0].detach().double().reshape(-1).numpy().copy())

        return hook

    handles = [parts[name].register_forward_pre_hook(keep(name)) for name in layers]
    try:
        for case in cases:
            for part in _parts(case.inputs, subject.declaration):
                session.run(part)
    finally:
        for handle in handles:
            handle.remove()
    found = {name: best_scale(np.concatenate(seen[name])) for name in layers if name in seen}
    return {name: scale for name, scale in found.items() if scale > 0}


def _parts(inputs: Arrays, declaration: Declaration) -> Iterator[Arrays]:
    """A recording; of a stream that keeps a horizon of frames, parts of so many, on more of which no module is run."""
    kept = declaration.horizon if declaration.sequences else 0
    frames = max(array.shape[1] for array in inputs.values()) if kept else 0
    if frames <= kept:
        yield inputs
        return
    for start in (*range(0, frames - kept, kept), frames - kept):
        yield {name: stream[:, start : start + kept] for name, stream in inputs.items()}


def best_scale(numbers: Array) -> float:
    """The scale of the least squared error, so the largest numbers may be clipped; 0 where all are 0.

    It has 16 significant bits: an integer times it is a float32 without rounding.
    """
    largest = float(np.abs(numbers).max(initial=0.0))
    few = numbers[:: 1 + len(numbers) // MOST_KEPT]
    scales = [float(short(np.array(largest * clip / MOST))) for clip in _CLIPS]
    errors = {
        scale: float(np.square(few - np.clip(np.rint(few / scale), LEAST, MOST) * scale).sum())
        for scale in scales
        if scale > 0
    }
    return min(errors, key=lambda scale: errors[scale]) if errors else 0.0


def _source(module: nn.Module) -> nn.Module:
    return own(module.model if isinstance(module, WholeStream) else module)
