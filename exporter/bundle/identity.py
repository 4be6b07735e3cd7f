"""Which model a saved state belongs to."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from temport.exporter.bundle.external_data import MODEL


def identity(files: Mapping[str, Mapping[str, Any]]) -> bytes:
    """SHA-256 over the manifest's hashes, as text, of model.onnx and the weights beside it, by name.

    files  of a manifest
    """
    hashes = [str(files[name]["sha256"]) for name in sorted(files) if name.startswith(MODEL)]
    return hashlib.sha256("".join(hashes).encode()).digest()
