"""What fewer bits cost a model: with its weights as they are stored, against as they were trained, both in float64."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch

from temport.exporter.compress.activations import rounding
from temport.exporter.compress.compressed import weight_in
from temport.exporter.compress.metric import Metric
from temport.exporter.compress.sums import tensors_of
from temport.exporter.errors import UserError
from temport.exporter.parity.cases import Case
from temport.exporter.parity.result import Loss
from temport.exporter.runtimes.contract import Arrays
from temport.exporter.runtimes.subject import Subject
from temport.exporter.runtimes.torch_eager import FLOAT64, TorchSession

Array = npt.NDArray[np.float64]

WINDOWS = 4
"""Equal parts of a stream, for each of which the loss is said: it shows whether errors grow."""


class Cost:
    """A model in float64, whose weights can be stored in any types, against the one that was trained.

    subject  what the oracle opens
    axes     of the inputs of each weight, by name
    metric   what says how much is lost, in place of the largest error
    trained  what the oracle opens with the weights as they were trained; None: `subject` has them

    Of a stream that was made of a graph and keeps a horizon of frames, it is the loss of these: what comes after them
    the graph says, which holds the trained weights.
    """

    def __init__(
        self,
        subject: Subject,
        cases: Sequence[Case],
        axes: Mapping[str, int],
        metric: Metric | None = None,
        trained: Subject | None = None,
    ) -> None:
        self.cases, self.axes, self.metric = cases, axes, metric
        declaration = subject.declaration
        self._rounded_to = declaration.rounded_to
        self._frames = declaration.horizon if declaration.sequences and declaration.horizon else None
        self._session = FLOAT64.open(subject)
        tensors = tensors_of(self._session.module)
        self._weights = {name: tensors[name] for name in axes}
        self._trained = {name: tensor.detach().clone() for name, tensor in self._weights.items()}
        before = self._session if trained is None or trained is subject else FLOAT64.open(trained)
        self._outputs = [self._run(case, before) for case in cases]
        self._streams = subject.declaration.streaming

    def check(self) -> None:
        """UserError where no share of an output is a loss: the trained model itself gives what is not finite."""
        for case, outputs in zip(self.cases, self._outputs, strict=True):
            for name, array in outputs.items() if self.metric is None else ():
                if array.dtype.kind == "f" and not np.isfinite(array).all():
                    raise UserError(
                        f"--max-loss is a share of an output's largest value, and {name} of the trained model holds "
                        f"NaN or infinity in the case {case.name}; leave such entries finite, or give --metric"
                    )

    def losses(self, kinds: Mapping[str, str], scales: Mapping[str, float] | None = None) -> tuple[Loss, ...]:
        """Per case and output, with these weights in these types and the others as trained.

        scales  of the layers whose inputs are rounded, by name
        """
        with self._stored(kinds, scales):
            return tuple(
                loss_of(case.name, name, stored[name], trained[name], WINDOWS if self._streams else 1)
                for case, trained in zip(self.cases, self._outputs, strict=True)
                for stored in [self._run(case, self._session)]
                for name in trained
            )

    def measured(
        self, kinds: Mapping[str, str], scales: Mapping[str, float] | None = None
    ) -> dict[str, float]:
        """What the metric says of each case, by its name."""
        assert self.metric is not None
        with self._stored(kinds, scales):
            runs = zip(self.cases, self._outputs, strict=True)
            return {case.name: self.metric(self._run(case, self._session), trained) for case, trained in runs}

    @contextlib.contextmanager
    def _stored(self, kinds: Mapping[str, str], scales: Mapping[str, float] | None) -> Iterator[None]:
        with torch.no_grad():
            for name, tensor in self._weights.items():
                trained = self._trained[name]
                stored = (
                    weight_in(name, trained.float(), self.axes[name], kinds[name])
                    if name in kinds
                    else trained
                )
                tensor.copy_(stored)
        with rounding(self._session.module, scales or {}, self._rounded_to):
            yield

    def _run(self, case: Case, session: TorchSession) -> Arrays:
        given = case.inputs
        if self._frames is not None:
            given = {name: stream[:, : self._frames] for name, stream in given.items()}
        return session.run(given)

    def worst(self, kinds: Mapping[str, str], scales: Mapping[str, float] | None = None) -> float:
        """The largest loss of any case: what the metric says, or of any output of floats."""
        if self.metric is not None:
            return max(self.measured(kinds, scales).values())
        return max((loss.largest for loss in self.losses(kinds, scales)), default=0.0)


def loss_of(case: str, output: str, stored: Array, trained: Array, windows: int = 1) -> Loss:
    """How far one output is from what it was.

    windows  parts of its second axis, time, whose largest errors are said one by one

    Integers have no scale: of them it is said how many changed.
    """
    if trained.dtype.kind != "f":
        changed = stored != trained
        same = float(1 - changed.mean()) if changed.size else None
        return Loss(case, output, 0.0, 0.0, same, int(changed.sum()), None, ())
    error, scale = np.abs(stored - trained), float(np.abs(trained).max(initial=0.0))
    power = float(np.sqrt(np.square(trained).mean())) if trained.size else 0.0
    parts = np.array_split(error, windows, axis=1) if windows > 1 and error.ndim > 1 else []
    agreement, flipped, margin = _decisions(stored, trained, scale)
    return Loss(
        case,
        output,
        _share(float(error.max(initial=0.0)), scale),
        _share(float(np.sqrt(np.square(error).mean())) if error.size else 0.0, power),
        agreement,
        flipped,
        margin,
        tuple(_share(float(part.max(initial=0.0)), scale) for part in parts),
    )


def _decisions(stored: Array, trained: Array, scale: float) -> tuple[float | None, int | None, float | None]:
    """Of the largest entry along the last axis: the share of rows that keep it, how many do not, and the largest lead,
    as a share of the scale, that one of those had.
    """
    if trained.ndim < 2 or trained.shape[-1] < 2 or not trained.size:
        return None, None, None
    rows, moved = trained.reshape(-1, trained.shape[-1]), stored.reshape(-1, trained.shape[-1])
    flips = rows.argmax(-1) != moved.argmax(-1)
    ordered = np.sort(rows[flips], axis=-1)
    lead = float((ordered[:, -1] - ordered[:, -2]).max(initial=0.0))
    return float(1 - flips.mean()), int(flips.sum()), _share(lead, scale)


def _share(error: float, scale: float) -> float:
    """0 of nothing; whatever is off where there was nothing is off wholly. NaN and infinity are as much as can be."""
    if error == 0:
        return 0.0
    share = error / scale if scale else 1.0
    return share if np.isfinite(share) else float(np.finfo(np.float64).max)
