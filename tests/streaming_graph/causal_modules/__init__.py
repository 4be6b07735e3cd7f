"""Small modules that cover the rules of streams, each causal, or in one place not."""

from __future__ import annotations

from tests.streaming_graph.causal_modules import (
    attention,
    averages,
    convolutions,
    policies,
    recurrences,
    tokens,
)
from tests.streaming_graph.causal_modules.case import CausalCase

CASES: dict[str, CausalCase] = {
    **recurrences.CASES,
    **convolutions.CASES,
    **attention.CASES,
    **averages.CASES,
    **policies.CASES,
    **tokens.CASES,
}
