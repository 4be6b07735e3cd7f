"""The version of this temport."""

from __future__ import annotations

import contextlib
from importlib import metadata


def version() -> str:
    """As installed; of a checkout that is not installed, what it would be."""
    for distribution in ("temport", "temport-runtime"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            return metadata.version(distribution)
    return "0.1.0"
