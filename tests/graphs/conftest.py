"""Fixtures of the architecture tests."""

import pytest
import torch

from temport.graphs.registry import ARCHITECTURES


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def small() -> dict[str, dict]:
    """The first small options of every architecture, for tests of one of them."""
    return {name: dict(next(iter(arch.small.values()))) for name, arch in ARCHITECTURES.items()}
