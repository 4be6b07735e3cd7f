"""Weights from safetensors or a checkpoint, every tensor accounted for by name and shape; written as safetensors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save
from torch import nn

from temport.exporter.declare.call import own
from temport.exporter.declare.checkpoint import SUFFIXES, read_checkpoint
from temport.exporter.errors import UserError
from temport.graphs.edifice_weights import convert

LAYOUTS = ("own", "edifice")
_PICKLES = (b"PK\x03\x04", b"\x80")  # torch.save writes a zip of pickles, older versions a bare pickle
_LENGTH = 8
"""Bytes of a safetensors file before its header, which is JSON: the header's length, little endian."""


def read(path: Path, prefix: str = "") -> dict[str, np.ndarray]:
    """All tensors of a safetensors file or a checkpoint; of those under `prefix` only, without it.

    A pickle under another name than a checkpoint's is refused before it is parsed.
    """
    if not path.is_file():
        raise UserError(f"weights file {path} does not exist")
    with path.open("rb") as file:
        head = file.read(_LENGTH + 1)
    pickled = head.startswith(_PICKLES) and not _has_header(head, path.stat().st_size)
    if pickled and path.suffix not in SUFFIXES:
        raise UserError(
            f"{path} is a pickled file, which only a checkpoint ({', '.join(SUFFIXES)}) may be; "
            "save it with safetensors.torch.save_file(model.state_dict(), ...)"
        )
    tensors = read_checkpoint(path, prefix) if pickled else _under(prefix, _read_safetensors(path), path)
    for name, tensor in tensors.items():
        if np.issubdtype(tensor.dtype, np.floating) and np.isnan(tensor).any():
            raise UserError(f"tensor {name} in {path} holds NaN")
    return tensors


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        return load_file(path)
    except (SafetensorError, ValueError, KeyError, OSError) as error:
        raise UserError(f"{path} is not a complete safetensors file: {error}") from error


def _under(prefix: str, tensors: dict[str, np.ndarray], path: Path) -> dict[str, np.ndarray]:
    chosen = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
    if tensors and not chosen:
        raise UserError(f"no tensor of {path} begins with {prefix!r}; its first is {next(iter(tensors))!r}")
    return chosen


def _has_header(head: bytes, size: int) -> bool:
    """Whether a file begins as safetensors: headers of every 32nd length (a multiple of 8) start like a pickle."""
    length = int.from_bytes(head[:_LENGTH], "little")
    return head[_LENGTH:] == b"{" and _LENGTH + length <= size


def fill(module: nn.Module, path: Path, layout: str, arch: str, config: Any, prefix: str = "") -> None:
    """Fill `module` from a safetensors file in its own names, or in those of the reference implementation."""
    module, tensors = own(module), read(path, prefix)
    if layout == "edifice":
        try:
            state = convert(arch, config, tensors)
        except ValueError as error:
            raise UserError(f"{path} does not fit {arch}: {error}") from error
    else:
        state = {name: torch.from_numpy(array.copy()) for name, array in tensors.items()}
    _match(module.state_dict(), state, path)
    _finite(state, {name for name, _ in module.named_buffers()}, path)
    module.load_state_dict(state)


def _finite(state: Mapping[str, torch.Tensor], buffers: set[str], path: Path) -> None:
    """Parameters are finite; a buffer may hold infinity, as a causal mask of scores does."""
    for name, tensor in state.items():
        if name not in buffers and tensor.is_floating_point() and tensor.isinf().any():
            raise UserError(f"weight {name} in {path} holds infinity; only a buffer, such as a mask, may")


def _match(expected: Mapping[str, torch.Tensor], given: Mapping[str, torch.Tensor], path: Path) -> None:
    problems = [f"{name} is missing" for name in expected if name not in given]
    problems += [f"{name} is not a tensor of this model" for name in given if name not in expected]
    problems += [
        f"{name} is {list(given[name].shape)}, expected {list(tensor.shape)}"
        for name, tensor in expected.items()
        if name in given and given[name].shape != tensor.shape
    ]
    if problems:
        raise UserError(f"{path} does not fit the model: {'; '.join(problems)}")


def serialise(module: nn.Module, dtype: str | None = None) -> bytes:
    """The module's parameters as safetensors bytes, the same for the same values.

    dtype  of fewer bits, where the parameters are no longer those that were trained: `weights_dtype` of the metadata

    The format's own writer orders metadata by hash: there is one entry at most, and tensors are given sorted.
    """
    state = own(module).state_dict()
    return save(
        {name: state[name].detach().cpu().contiguous().numpy() for name in sorted(state)},
        metadata=None if dtype is None else {"weights_dtype": dtype},
    )


def fingerprint(module: nn.Module) -> str:
    """sha256 over names, dtypes, shapes and values of all parameters."""
    digest = hashlib.sha256()
    for name, tensor in sorted(own(module).state_dict().items()):
        array = tensor.detach().cpu().contiguous().numpy()
        digest.update(json.dumps([name, str(array.dtype), list(array.shape)]).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
