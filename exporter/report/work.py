"""How much a model computes, in words."""

from __future__ import annotations

from collections.abc import Mapping


def work(flops: Mapping[str, Mapping[str, float] | None]) -> str:
    """As `2.1 MFLOP traced, 1.4 MFLOP exported`, from the FLOPs by operator of each stage."""
    if any(counts is None for counts in flops.values()):
        return "not known, since a size depends on the data"
    totals = {stage: sum((counts or {}).values()) for stage, counts in flops.items()}
    if not any(totals.values()):
        return "no matrix product, recurrence or attention"
    return ", ".join(f"{total / 1e6:.4g} MFLOP {stage}" for stage, total in totals.items())
