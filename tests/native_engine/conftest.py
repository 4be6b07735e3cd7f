"""What several files need once: step models for other processors, and what this machine gives for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache

import pytest

from tests.native_engine.targets import StepModel
from tests.traces import shared_by_exports


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], StepModel]:
    """The step model of an architecture; whoever makes an engine of it gives its folder a name of its own."""
    root = tmp_path_factory.mktemp("models")
    return cache(lambda arch: StepModel(root / arch, arch))


@pytest.fixture(scope="session")
def scalar(model: Callable[[str], StepModel]) -> Callable[[str], bytes]:
    """Outputs of the source without intrinsics, in vectors of four floats as the compiler makes them."""
    return cache(lambda arch: model(arch).fused())


@pytest.fixture(scope="module", autouse=True)
def traced_once() -> Iterator[None]:
    """Every engine of a model is made of one trace."""
    with shared_by_exports():
        yield
