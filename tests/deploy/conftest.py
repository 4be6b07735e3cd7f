"""What the deployment tests share: small bundles, exported once, and the built runner."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from small_bundles import write_bundle, write_step_bundle
from toolchain import build_runner


@pytest.fixture(scope="session")
def runner() -> Path:
    """The C++ runner of this machine."""
    return build_runner() / "temport-run"


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A bundle by architecture; shared, so do not write into it."""
    root = tmp_path_factory.mktemp("bundles")

    def get(arch: str) -> Path:
        return root / arch if (root / arch).exists() else write_bundle(root / arch, arch)

    return get


@pytest.fixture(scope="session")
def stepped(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The bundle of a step model by architecture; shared, so do not write into it."""
    root = tmp_path_factory.mktemp("step_bundles")

    def get(arch: str) -> Path:
        return root / arch if (root / arch).exists() else write_step_bundle(root / arch, arch)

    return get


@pytest.fixture
def bundle(exported: Callable[[str], Path], tmp_path: Path) -> Path:
    """A bundle of one's own, to damage."""
    return Path(shutil.copytree(exported("mega"), tmp_path / "bundle"))
