"""Fixtures of the architecture tests."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

GOLDEN = Path(__file__).parent.parent / "golden"


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def golden() -> Callable[[str], dict[str, np.ndarray]]:
    """All arrays of one golden case by name."""

    def read(name: str) -> dict[str, np.ndarray]:
        with np.load(GOLDEN / f"{name}.npz") as file:
            return dict(file)

    return read


@pytest.fixture
def small() -> dict[str, dict]:
    """Options of a small model of every architecture, with each of its branches at work at length 61."""
    return {
        "sliding_window": dict(embed_dim=6, window_size=7, num_heads=2, head_dim=4, ffn_dim=10),
        "attention": dict(embed_dim=6, window_size=7, num_heads=2, hidden_size=8, ffn_dim=10),
        "hybrid": dict(embed_dim=6, lstm_hidden=5, lstm_layers=2, num_heads=2, head_dim=4),
        "hybrid_mlp": dict(embed_dim=6, lstm_hidden=5, num_heads=2, head_dim=4, mlp_sizes=(12, 10)),
        "mega": dict(embed_dim=6, hidden_size=8, ema_dim=3, num_layers=2),
        "lightning": dict(
            embed_dim=6, hidden_size=8, num_heads=2, num_layers=2, block_size=8, feature_map="elu1"
        ),
        "dms": dict(hid_dim=8, n_heads=2),
    }
