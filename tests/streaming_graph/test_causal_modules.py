"""The list itself: what it calls causal is, what it calls not is not, and by the number of frames that it says.

By torch in float64 alone: the output of a frame must not change where later frames do.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.streaming_graph.causal_modules import CASES, CausalCase

FRAMES, AT = 20, 6


def drawn(case: CausalCase) -> list[Tensor]:
    """Its inputs in float64: two streams."""
    sizes = [[a for a in shape.partition("=")[2].split(",")[1:]] for shape in case.shapes]
    return [torch.randn(2, *(FRAMES if a == "seq" else int(a) for a in axes)).double() for axes in sizes]


def outputs(model: nn.Module, inputs: list[Tensor], frames: int) -> list[Tensor]:
    """What it gives of the first `frames` frames."""
    with torch.no_grad():
        found = model(*(x[:, :frames] if x.dim() == 3 else x for x in inputs))
    return list(found.values()) if isinstance(found, dict) else [found]


def reach(case: CausalCase, model: nn.Module) -> int:
    """How many frames after frame AT its output still changes."""
    inputs = drawn(case)
    whole = outputs(model, inputs, FRAMES)
    for ahead in range(FRAMES - AT):
        until = outputs(model, inputs, AT + ahead + 1)
        if all(
            torch.allclose(a[:, AT], b[:, AT], rtol=1e-12, atol=1e-12)
            for a, b in zip(whole, until, strict=True)
        ):
            return ahead
    return FRAMES - AT


@pytest.mark.parametrize("name", CASES)
def test_a_module_is_what_the_list_says(name: str) -> None:
    case = CASES[name]
    torch.manual_seed(0)
    causal, other = (case.build(causal).double().eval() for causal in (True, False))
    assert case.breaks in dict(other.named_modules())
    if case.last:
        assert outputs(causal, drawn(case), FRAMES)[0].dim() == 2
        return
    assert reach(case, causal) == 0
    assert reach(case, other) == case.delay if case.delay else reach(case, other) > 3
