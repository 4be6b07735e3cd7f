"""PatchTST (arXiv 2211.14730) of the package transformers: 512 steps of 7 series -> the next 96, as for ETTh1."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import PatchTSTConfig, PatchTSTForPrediction

CHANNELS, PAST, FUTURE = 7, 512, 96


def make() -> nn.Module:
    """The paper's model for that data: three layers of 16 heads, patches of 16 steps every 8."""
    return PatchTSTForPrediction(
        PatchTSTConfig(
            num_input_channels=CHANNELS,
            context_length=PAST,
            prediction_length=FUTURE,
            patch_length=16,
            patch_stride=8,
            num_hidden_layers=3,
            d_model=128,
            num_attention_heads=16,
            ffn_dim=256,
        )
    )


def difference(model: Any, run: Any) -> float:
    """Of `run(inputs) -> outputs` from the package's own model, as a share of its largest value."""
    series = np.random.default_rng(0).standard_normal((3, PAST, CHANNELS)).cumsum(axis=1).astype(np.float32)
    with torch.no_grad():
        own = model(torch.from_numpy(series)).prediction_outputs.numpy()
    return float(np.abs(run({"past_values": series})["prediction_outputs"] - own).max() / np.abs(own).max())
