"""Fixtures of the architecture tests."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from temport.graphs.registry import ARCHITECTURES

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
    """The first small options of every architecture, for tests of one of them."""
    return {name: dict(next(iter(arch.small.values()))) for name, arch in ARCHITECTURES.items()}
