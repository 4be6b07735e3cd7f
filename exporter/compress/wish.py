"""What was asked of weights in fewer bits, and whether a model can have it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from numbers import Real
from pathlib import Path

import numpy as np

from temport.exporter.compress.metric import Function
from temport.exporter.declare.declaration import Declaration
from temport.exporter.errors import UserError
from temport.exporter.graph.quantised import FLOAT32, WIDER
from temport.exporter.graph.rounding import ENDS

FIRST_OPSET = 21
"""Of ai.onnx, with `DequantizeLinear` of int4 and of blocks."""


@dataclass(frozen=True)
class Wish:
    """What was asked.

    kind         of the weights
    max_loss     how much the model may lose by it; None: whatever it loses
    metric       a function, or its name, that says how much that is; None: the largest error of an output
    activations  what the inputs of dense layers are rounded to: `int8` or `fp8`, or None
    recordings   files of the model's inputs, which say how large these are
    """

    kind: str
    max_loss: float | None = None
    metric: str | Function | None = None
    activations: str | None = None
    recordings: tuple[Path, ...] = ()


def declared_so(declaration: Declaration, wish: Wish, opset: int | None) -> Declaration:
    """The declaration with compressed weights.

    opset  that was asked for

    UserError for a type that there is not, and for what cannot be together with it.
    """
    if wish.kind not in WIDER:
        raise UserError(f"--weights-dtype {wish.kind!r} is unknown; give {', '.join(reversed(WIDER))}")
    if declaration.precision != FLOAT32:
        raise UserError(
            f"--weights-dtype {wish.kind} is for a model that computes in float32, and this one computes in "
            f"{declaration.precision}; give --precision fp32"
        )
    own = wish.metric is not None
    if wish.max_loss is not None and not isinstance(wish.max_loss, Real):
        raise UserError(f"--max-loss is {wish.max_loss!r}; give a number")
    if wish.max_loss is not None and own and not math.isfinite(wish.max_loss):
        raise UserError(f"--max-loss {wish.max_loss:g} is no limit of --metric; give a number")
    if wish.max_loss is not None and not own and not 0 < wish.max_loss < math.inf:
        raise UserError(
            f"--max-loss {wish.max_loss:g} is no share of an output's scale; give one such as 1e-2"
        )
    if (
        wish.max_loss is not None
        and not own
        and all(np.dtype(o.dtype).kind != "f" for o in declaration.outputs)
    ):
        raise UserError(
            "--max-loss bounds outputs of floats, and this model has none; leave it out, or give --metric"
        )
    _check_activations(wish)
    oldest = declaration.opset if wish.kind == "fp16" else max(FIRST_OPSET, declaration.opset)
    if opset is not None and opset < oldest:
        raise UserError(
            f"--weights-dtype {wish.kind} needs opset {FIRST_OPSET}, whose DequantizeLinear takes it; give "
            f"--opset {FIRST_OPSET} or leave it out"
        )
    return replace(declaration, opset=oldest, weights_dtype=wish.kind)


def _check_activations(wish: Wish) -> None:
    """UserError for rounded activations that cannot be."""
    if wish.activations is None:
        if wish.recordings:
            raise UserError("--calibrate is for --activations; give that too, or leave --calibrate out")
        return
    kind = wish.activations
    if kind not in ENDS:
        raise UserError(f"--activations {kind!r} is unknown; give {' or '.join(ENDS)}")
    if wish.kind != kind:
        raise UserError(
            f"--activations {kind} is for layers whose weights are {kind} too; give --weights-dtype {kind} in place of "
            f"{wish.kind}"
        )
    if not wish.recordings:
        raise UserError(
            f"--activations {kind} needs --calibrate FILE, a recording of the model's inputs: .npz, .npy or .csv"
        )
