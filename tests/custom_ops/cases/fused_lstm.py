"""Cases of FusedLSTM."""

import torch
from recurrent_cases import recurrent_cases

from temport.custom_ops.fused_lstm import OP

CASES = recurrent_cases(OP, torch.nn.LSTM, gates=(0, 2, 3, 1), states="hc")  # i, o, f, g -> i, f, g, o
