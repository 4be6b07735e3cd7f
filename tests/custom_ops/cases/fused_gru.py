"""Cases of FusedGRU."""

import torch
from recurrent_cases import recurrent_cases

from temport.custom_ops.fused_gru import OP

CASES = recurrent_cases(OP, torch.nn.GRU, gates=(1, 0, 2), states="h")  # z, r, h -> r, z, n
