"""One rule per kind of operator along time.

A rule takes the step graph that is being made and a node of the sequence graph. It reads what time is to each input
(`step.status`) and what stands for it (`step.held`, or `step.raw` where lateness is its own business), adds nodes, and
gives every output its value and status (`step.copy`, `step.give`). What it cannot do it refuses (`step.refuse`).
"""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from temport.exporter.graph import operators
from temport.exporter.graph.operator_row import Time
from temport.exporter.streaming.rules.along import along, channels
from temport.exporter.streaming.rules.attention import attention, blocks
from temport.exporter.streaming.rules.carried import carried
from temport.exporter.streaming.rules.context import context
from temport.exporter.streaming.rules.filled import filled
from temport.exporter.streaming.rules.placed import placed
from temport.exporter.streaming.rules.product import product
from temport.exporter.streaming.rules.receptive import receptive
from temport.exporter.streaming.rules.recurrent import recurrent
from temport.exporter.streaming.rules.running import average, running_sum
from temport.exporter.streaming.rules.selected import selected
from temport.exporter.streaming.step import Step

Rule = Callable[[Step, ir.Node], None]

RULES: dict[Time, Rule] = {
    Time.ALONG: along,
    Time.FILLED: filled,
    Time.SELECTED: selected,
    Time.PLACED: placed,
    Time.CONTEXT: context,
    Time.PRODUCT: product,
    Time.CHANNELS: channels,
    Time.RECEPTIVE: receptive,
    Time.RECURRENT: recurrent,
    Time.SUM: running_sum,
    Time.AVERAGE: average,
    Time.CARRIED: carried,
    Time.ATTENTION: attention,
    Time.BLOCKS: blocks,
}

SEVERAL = frozenset(
    {
        Time.ALONG,
        Time.FILLED,
        Time.SELECTED,
        Time.PLACED,
        Time.CONTEXT,
        Time.PRODUCT,
        Time.CHANNELS,
        Time.RECEPTIVE,
        Time.RECURRENT,
        Time.SUM,
        Time.ATTENTION,
    }
)
"""Rules that know of several entries for each frame."""


def follow(step: Step, node: ir.Node) -> None:
    """Let the rule of a node make its step."""
    time = operators.of(node).time
    if time not in SEVERAL:
        step.one_each(node)
    RULES[time](step, node)
