"""Two bundles in turns on the same inputs: what `temport diff --speed` asks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from temport.exporter.bench.timing import interleaved
from temport.exporter.errors import UserError
from temport.session import Session, load
from temport.stream import EndedStream

SECONDS = 2.0


def fastest(before: Path, after: Path) -> tuple[float, float]:
    """Seconds of one inference, or of one frame of a step model, on one thread: the fastest of many interleaved
    samples, each the mean of some milliseconds. What else the machine does makes samples slower and never faster.
    """
    calls = {"before": _call(load(before)), "after": _call(load(after))}
    timed = interleaved(calls, seconds=SECONDS)
    return timed["before"].minimum, timed["after"].minimum


def _call(session: Session) -> Callable[[], object]:
    """One inference of zeros at the smallest sizes; of a step model the next frame of one stream."""
    inputs = {
        name: np.zeros([d if isinstance(d, int) else d[0] for d in shape], dtype)
        for name, (dtype, shape) in session.inputs.items()
    }
    try:
        stream = session.stream()
    except UserError:  # it takes whole sequences
        return lambda: session(inputs)
    frame = {name: np.zeros(shape, session.inputs[name][0]) for name, shape in stream.shapes.items()}

    def next_frame() -> object:
        try:
            return stream(frame)
        except EndedStream:
            stream.reset()
            return stream(frame)

    return next_frame
