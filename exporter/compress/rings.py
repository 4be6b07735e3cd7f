"""What rings of float16 cost a model: its stream with keys and values rounded, against the one that was trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import nn

from temport.exporter.compress.loss import WINDOWS, loss_of
from temport.exporter.compress.metric import metric_of
from temport.exporter.compress.wish import Wish
from temport.exporter.declare.declaration import Declaration
from temport.exporter.errors import UserError
from temport.exporter.graph.quantised import FLOAT32
from temport.exporter.parity.cases import Case
from temport.exporter.parity.result import Compression
from temport.exporter.parity.trial import Trial
from temport.exporter.runtimes.contract import Arrays
from temport.exporter.runtimes.torch_eager import FLOAT64

LARGEST = float(np.finfo(np.float16).max)


def as_trained(declaration: Declaration) -> Declaration:
    """The declaration of the stream whose rings hold what they are given."""
    return replace(declaration, kv_dtype=FLOAT32)


def with_rings(
    compression: Compression,
    trained: nn.Module,
    module: nn.Module,
    declaration: Declaration,
    cases: Sequence[Case],
    wish: Wish | None = None,
) -> tuple[Compression, tuple[str, ...]]:
    """The account of a stream whose rings are float16 too, that of the weights with it; and what a user has to know.

    module       with its weights as they are stored
    declaration  of the stream, with what its inputs of layers are rounded to
    wish         what was asked of the weights; None: nothing

    UserError where a key or a value of a judged case is beyond the largest half, or where weights and rings together
    lose more than they may.
    """
    plain = replace(as_trained(declaration), input_scales={})
    before, after = (_outputs(m, d, cases) for m, d in ((trained, plain), (module, declaration)))
    pairs = list(zip(cases, before, after, strict=True))
    beyond = [case.name for case, own, stored in pairs if _leaves_the_numbers(own, stored)]
    if judged := [name for name in beyond if name in compression.judged]:
        raise UserError(
            f"keys or values reach beyond {LARGEST:g} in case {judged[0]}, where float16 ends; leave out --kv-dtype"
        )
    losses = tuple(
        loss_of(case.name, name, stored[name], own[name], WINDOWS)
        for case, own, stored in pairs
        for name in own
    )
    metric = None if wish is None else metric_of(wish.metric)
    measured = {
        case.name: metric(stored, own)
        for case, own, stored in pairs
        if metric is not None and case.name in compression.judged
    }
    most = max((loss.largest for loss in losses if loss.case in compression.judged), default=0.0)
    most = max(measured.values(), default=0.0) if metric is not None else most
    if wish is not None and wish.max_loss is not None and most > wish.max_loss:
        raise UserError(
            f"--kv-dtype {declaration.kv_dtype} and the weights together lose {most:.3g}, and --max-loss is "
            f"{wish.max_loss:g}; leave out --kv-dtype, or give a larger one"
        )
    told = f"keys or values reach beyond {LARGEST:g}, where float16 ends, and nobody is judged: {', '.join(beyond)}"
    account = replace(compression, rings=declaration.kv_dtype, losses=losses, measured=measured)
    return account, (told,) if beyond else ()


def rings_alone(judged: Sequence[Case]) -> Compression:
    """The account of a model whose weights are as they were trained."""
    return Compression(FLOAT32, None, tuple(case.name for case in judged), (), ())


def _outputs(module: nn.Module, declaration: Declaration, cases: Sequence[Case]) -> list[Arrays]:
    with FLOAT64.open(Trial.of(declaration, Path(), module).source) as session:
        return [session.run(case.inputs) for case in cases]


def _leaves_the_numbers(own: Arrays, stored: Arrays) -> bool:
    return any(bool((np.isfinite(own[name]) & ~np.isfinite(stored[name])).any()) for name in own)
