"""What several files need once: the kernels, compiled for emulated threads."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from temport.custom_ops.cuda.build import build_emulated
from tests.tensorrt.kept_build import keep, kernel_sources


@pytest.fixture(scope="session")
def emulated_library() -> Path:
    return keep(b"emulated\0" + kernel_sources(os.environ.get("CXX") or "g++"), build_emulated)
