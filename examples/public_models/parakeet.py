"""The encoder of NVIDIA's Parakeet, a FastConformer (arXiv 2305.05084), of the package transformers, at a small size.

Frames of a mel spectrogram and which of them count -> one vector per 8 frames. Convolutions subsample, attention has
relative positions, and every block has a convolution module with a gated linear unit, batch norm and swish.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import ParakeetEncoder, ParakeetEncoderConfig

BINS = 80


def make() -> nn.Module:
    return ParakeetEncoder(
        ParakeetEncoderConfig(
            num_mel_bins=BINS,
            hidden_size=144,
            num_hidden_layers=4,
            num_attention_heads=4,
            intermediate_size=576,
            subsampling_conv_channels=64,
        )
    )


def difference(model: Any, run: Any) -> float:
    """Of `run(inputs) -> outputs` from the package's own model, as a share of its largest value."""
    features = np.random.default_rng(0).standard_normal((2, 333, BINS)).astype(np.float32)
    valid = np.arange(333) < np.array([[333], [200]])
    with torch.no_grad():
        own = model(torch.from_numpy(features), torch.from_numpy(valid)).last_hidden_state.numpy()
    encoded = run({"input_features": features, "attention_mask": valid})["encoded"]
    return float(np.abs(encoded - own).max() / np.abs(own).max())
