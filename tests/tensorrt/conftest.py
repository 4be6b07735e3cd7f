"""What several files need once: the kernels, compiled for emulated threads."""

from __future__ import annotations

from pathlib import Path

import pytest

from custom_ops.cuda.build import build_emulated


@pytest.fixture(scope="session")
def emulated_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_emulated(tmp_path_factory.mktemp("kernels") / "libemulated.so")
