"""manifest.json as text: its form is the schema's, which Python, C++ and JavaScript read from the one file."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from temport.exporter.bundle import strict_json
from temport.exporter.bundle.signature_rules import check_signature, check_stream

SCHEMA = Path(__file__).parent / "manifest.schema.json"
LARGEST = 4 << 20
"""Bytes of the largest manifest that is read."""


def read_manifest(content: bytes) -> dict[str, Any]:
    """The manifest that `content` spells; ValueError, in a few words, where it is refused."""
    if len(content) > LARGEST:
        raise ValueError("it is larger than any manifest")
    manifest: dict[str, Any] = strict_json.parse(content)
    check_form(manifest)
    check_signature(manifest["signature"])
    if "stream" in manifest:
        check_stream(manifest["stream"], manifest["signature"])
    options = manifest["declaration"]["options"]
    whole: dict[str, Any] = _whole_numbers(manifest)
    whole["declaration"]["options"] = options  # there 1.0 is not 1
    return whole


def _whole_numbers(value: Any) -> Any:
    """The schema takes 1.0 for the integer 1, as JavaScript cannot tell them apart; Python can."""
    if isinstance(value, dict):
        return {key: _whole_numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole_numbers(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def check_form(manifest: Any) -> None:
    """ValueError, in a few words, where the schema refuses it."""
    error = next(iter(_validator().iter_errors(manifest)), None)
    if error is not None:
        place = "/".join(map(str, error.absolute_path)) or "its top"
        raise ValueError(f"at {place}, {error.message[:200]}")


@cache
def _validator() -> Any:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(json.loads(SCHEMA.read_text()))
