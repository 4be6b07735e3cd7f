"""The version of this temport."""

from __future__ import annotations

from importlib import metadata


def version() -> str:
    """As installed; of a checkout that is not installed, what it would be."""
    try:
        return metadata.version("temport")
    except metadata.PackageNotFoundError:
        return "0.1.0"
