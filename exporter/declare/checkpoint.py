"""Weights from what `torch.save` wrote: tensors only, by torch's restricted reader, which runs no code of the file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from temport.exporter.errors import UserError
from temport.plugins import first_line

SUFFIXES = (".pt", ".pth", ".ckpt", ".bin")
INSIDE = ("state_dict", "model_state_dict", "model")
"""Where training loops keep the weights, beside an optimiser and the like."""


def read_checkpoint(path: Path, prefix: str = "") -> dict[str, np.ndarray]:
    """The tensors of a checkpoint, or of the state_dict inside it; of those under `prefix` only, without it.

    UserError where the file holds other objects than tensors, numbers and texts.
    """
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged zip, a pickle of classes, a truncated tensor: each raises its own
        raise UserError(
            f"{path} is no checkpoint of tensors alone ({first_line(error)}); "
            "save it with safetensors.torch.save_file(model.state_dict(), ...)"
        ) from error
    state = next((found[key] for key in INSIDE if _has_tensors(found, key)), found)
    if not _is_state(state):
        raise UserError(f"{path} holds no state_dict; save it with torch.save(model.state_dict(), ...)")
    chosen = {name.removeprefix(prefix): t for name, t in state.items() if name.startswith(prefix)}
    if not chosen:
        raise UserError(f"no tensor of {path} begins with {prefix!r}; its first is {next(iter(state))!r}")
    return {name: _array(tensor) for name, tensor in chosen.items()}


def _has_tensors(found: Any, key: str) -> bool:
    return isinstance(found, Mapping) and _is_state(found.get(key))


def _is_state(found: Any) -> bool:
    return (
        isinstance(found, Mapping)
        and bool(found)
        and all(isinstance(t, torch.Tensor) for t in found.values())
    )


def _array(tensor: torch.Tensor) -> np.ndarray:
    """numpy has no bfloat16: float32 holds its values."""
    return np.asarray((tensor.float() if tensor.dtype == torch.bfloat16 else tensor).detach().numpy())
