"""The modules of tests/trials as streams: what is causal is one, and what is not is refused by its layer."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from temport.exporter.errors import UserError
from temport.exporter.request import ExportRequest, declared
from tests.streaming_graph.trial_answers import TRIAL_ANSWERS, TrialAnswer

TRIALS = Path(__file__).parents[1] / "trials"
FIRST = ("tcn_stream", "gru_attention_last", "dataclass")


@pytest.mark.parametrize(
    "answer",
    [a if a.file in FIRST else pytest.param(a, marks=pytest.mark.thorough) for a in TRIAL_ANSWERS],
    ids=str,
)
def test_a_trial_as_a_stream(answer: TrialAnswer) -> None:
    asked = ExportRequest(
        module=f"{TRIALS / answer.file}.py:{answer.factory}",
        shapes=answer.shapes,
        seq=str(answer.seq),
        batch="2",
        streaming=True,
    )
    if answer.streams:
        declaration, _ = declared(asked)
        assert declaration.streaming and declaration.states
        return
    said = answer.why or answer.missing or re.escape(f"layer {answer.breaks} (")
    with pytest.raises(UserError, match=said) as refused:
        declared(asked)
    if answer.breaks:
        assert f"layer {answer.breaks} (" in str(refused.value)
        assert getattr(refused.value, "delay", None) == answer.delay
