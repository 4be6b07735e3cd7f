"""A fault in the rule of convolutions: the ring under a kernel lacks its oldest frame."""

from __future__ import annotations

import pytest

from temport.exporter.streaming import rules
from temport.exporter.streaming.states import part


def shorten_rings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the newest frame stand in its ring twice, in the place of the oldest."""
    right = rules.receptive.__globals__["ring"]

    def short(step, node, here, axis, frames, what, delay, lead=None):
        together = right(step, node, here, axis, frames, what, delay, lead)
        late = part(step, together, axis, 1, frames + 1, f"{together.name}/without_the_oldest")
        return step.add(
            "Concat", [late, here], list(together.shape), f"{together.name}/short", {"axis": axis}
        )

    monkeypatch.setitem(rules.receptive.__globals__, "ring", short)
