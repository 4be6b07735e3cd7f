"""Which keys a query may see, as boolean tables; the rule itself is `temport.custom_ops.MaskRule`."""

from __future__ import annotations

import torch
from torch import Tensor

from temport.custom_ops.mask import MaskRule
from temport.graphs.baking import LengthTable
from temport.graphs.options import check_counts


def causal_mask(seq_len: int) -> Tensor:
    """bool `[seq_len, seq_len]`: row i sees keys j <= i. 0 frames have an empty table."""
    check_counts(at_least=0, seq_len=seq_len)
    return torch.from_numpy(MaskRule(causal=True).array(seq_len, seq_len))


def window_mask(seq_len: int, window_size: int) -> Tensor:
    """bool `[seq_len, seq_len]`: row i sees the `window_size` keys i-window_size < j <= i, its own
    included. A window of 0 keys sees none (in the options of a layer 0 would be no limit).
    """
    check_counts(at_least=0, seq_len=seq_len, window_size=window_size)
    if window_size == 0:
        return torch.zeros(seq_len, seq_len, dtype=torch.bool)
    return torch.from_numpy(MaskRule(causal=True, window=window_size).array(seq_len, seq_len))


class MaskTable(LengthTable):
    """The rule as a square boolean table `[n, n]` that an export sees as a constant."""

    def __init__(self, rule: MaskRule) -> None:
        super().__init__()
        self.rule = rule

    def compute(self, length: int) -> Tensor:
        index = torch.arange(length, device=self.like.device)
        return self.rule.allows(index[:, None], index[None, :])

    def cut(self, table: Tensor, length: int) -> Tensor:
        return table[:length, :length]
