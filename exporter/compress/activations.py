"""Inputs of dense layers rounded to int8 or fp8 times a scale, in the module itself: where, by which scales, and how.

The module then computes what the file says, in any type: it is the oracle, and its trace has the rounding in it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from temport.exporter.compress.rounded_graph import giving, inputs_of, layers_of, rounding_inputs
from temport.exporter.compress.sums import source_of, tensors_of
from temport.exporter.declare.declaration import Declaration
from temport.exporter.errors import UserError
from temport.exporter.graph.quantised import nearest, short
from temport.exporter.graph.rounding import ENDS
from temport.exporter.onnx_source.module import OnnxModule
from temport.exporter.parity.cases import Case
from temport.exporter.parity.rounded_inputs import Rounding
from temport.exporter.runtimes.contract import Arrays
from temport.exporter.runtimes.subject import Subject
from temport.exporter.runtimes.torch_eager import FLOAT64

Array = npt.NDArray[np.float64]

MOST_KEPT = 1 << 18
"""Numbers of an input that its scale is chosen from: of more, every so manyth."""
_CLIPS = np.geomspace(1.0, 0.02, 60)
"""Shares of the largest number that are tried as the largest representable one."""


def dense_layers(module: nn.Module, weights: Sequence[str], kind: str) -> dict[str, str]:
    """Name of each dense layer of the source whose weight is one of these -> the name of its weight.

    A layer is an `nn.Linear`; of an ONNX file a `MatMul` or a `Gemm`, called as what it gives. UserError for a file
    that cannot round to `kind`.
    """
    source = source_of(module)
    if isinstance(source, OnnxModule):
        return layers_of(source, weights, kind)
    names = {id(tensor): name for name, tensor in tensors_of(module).items() if name in weights}
    return {
        name: names[id(part.weight)]
        for name, part in source.named_modules()
        if isinstance(part, nn.Linear) and id(part.weight) in names
    }


def with_rounded_inputs(module: nn.Module, scales: Mapping[str, float], kind: str) -> nn.Module:
    """A copy of `module` whose layers, by name, round what they take. UserError for a layer that it has not.

    kind  `int8` or `fp8`
    """
    made = copy.deepcopy(module)
    source = source_of(made)
    if isinstance(source, OnnxModule):
        source.model = rounding_inputs(source.model, scales, kind)
        return made
    parts = dict(source.named_modules())
    for name, scale in scales.items():
        if name not in parts:
            raise UserError(f"the bundle rounds the input of {name}, a layer that the module has not")
        parts[name].register_forward_pre_hook(Rounding(scale, kind), with_kwargs=True)
    return made


@contextmanager
def rounding(module: nn.Module, scales: Mapping[str, float], kind: str) -> Iterator[None]:
    """The layers of `module` itself round what they take, for a while."""
    source = source_of(module)
    if isinstance(source, OnnxModule):
        with source.computing(rounding_inputs(source.model, scales, kind)):
            yield
        return
    parts = dict(source.named_modules())
    handles = [
        parts[name].register_forward_pre_hook(Rounding(scale, kind), with_kwargs=True)
        for name, scale in scales.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def calibrated(subject: Subject, cases: Sequence[Case], layers: Sequence[str], kind: str) -> dict[str, float]:
    """The scale of each layer's input over all cases, by name; of a layer that is not called, or takes nothing but 0,
    none.

    subject  what the oracle opens
    """
    seen = taken_by(subject, cases, layers)
    found = {name: best_scale(rows.reshape(-1), kind) for name, rows in seen.items()}
    return {name: scale for name, scale in found.items() if scale > 0}


def taken_by(subject: Subject, cases: Sequence[Case], layers: Sequence[str]) -> dict[str, Array]:
    """`[rows, K]`, all that each layer takes over all cases, by name; a layer that is not called is not there.

    subject  what the oracle opens
    """
    session = FLOAT64.open(subject)
    seen: dict[str, list[Array]] = {}
    with _seeing(source_of(session.module), layers, seen):
        for case in cases:
            for part in _parts(case.inputs, subject.declaration):
                session.run(part)
    return {name: np.concatenate(seen[name]) for name in layers if name in seen}


def _parts(inputs: Arrays, declaration: Declaration) -> Iterator[Arrays]:
    """A recording; of a stream that keeps a horizon of frames, parts of so many, on more of which no module is run."""
    kept = declaration.horizon if declaration.sequences else 0
    frames = max(array.shape[1] for array in inputs.values()) if kept else 0
    if frames <= kept:
        yield inputs
        return
    for start in (*range(0, frames - kept, kept), frames - kept):
        yield {name: stream[:, start : start + kept] for name, stream in inputs.items()}


@contextmanager
def _seeing(source: nn.Module, layers: Sequence[str], seen: dict[str, list[Array]]) -> Iterator[None]:
    """What each layer takes is put into `seen`, by its name, for a while."""

    def keep(name: str, given: Tensor) -> None:
        seen.setdefault(name, []).append(given.detach().double().reshape(-1, given.shape[-1]).numpy().copy())

    if isinstance(source, OnnxModule):
        taken = inputs_of(source, layers)

        def after(_: nn.Module, inputs: tuple[Any, ...], outputs: dict[str, Tensor]) -> None:
            for name, value in taken.items():
                keep(name, outputs[value])

        with giving(source, list(taken.values())), source.register_forward_hook(after):
            yield
        return
    parts = dict(source.named_modules())
    handles = [
        parts[name].register_forward_pre_hook(
            lambda _, inputs, named, name=name: keep(name, (*inputs, *named.values())[0]), with_kwargs=True
        )
        for name in layers
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def best_scale(numbers: Array, kind: str) -> float:
    """The scale of the least squared error, so the largest numbers may be clipped; 0 where all are 0.

    It has 16 significant bits: a number of the type times it is a float32 without rounding.
    """
    largest = float(np.abs(numbers).max(initial=0.0))
    few = numbers[:: 1 + len(numbers) // MOST_KEPT]
    scales = [float(short(np.array(largest * clip / ENDS[kind][1]))) for clip in _CLIPS]
    errors = {
        scale: float(np.square(few - nearest(few / scale, kind) * scale).sum())
        for scale in scales
        if scale > 0
    }
    return min(errors, key=lambda scale: errors[scale]) if errors else 0.0
