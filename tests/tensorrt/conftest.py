"""What several files need once: the kernels, compiled for emulated threads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from temport.custom_ops.cuda.build import build_emulated
from tests.tensorrt.kept_build import keep, kernel_sources
from tests.traces import shared_by_exports


@pytest.fixture(scope="session")
def emulated_library() -> Path:
    return keep(b"emulated\0" + kernel_sources(os.environ.get("CXX") or "g++"), build_emulated)


@pytest.fixture(scope="module", autouse=True)
def traced_once() -> Iterator[None]:
    """Every engine of a model is made of one trace."""
    with shared_by_exports():
        yield
