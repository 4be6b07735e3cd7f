"""What comparisons need and no test of them is about: traces, which several of them share, and the machine's peak."""

from __future__ import annotations

from functools import cache

import pytest

from temport.exporter.bench import machine, model, model_stream
from tests import traces

_peak = cache(machine.peak_flops)


@pytest.fixture(autouse=True)
def made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of one shape is traced once, and the peak measured once, for all tests of this process."""
    for module in (model, model_stream):
        monkeypatch.setattr(module, "build", traces.build)
    monkeypatch.setattr(model, "peak_flops", _peak)
