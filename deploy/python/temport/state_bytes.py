"""The saved state of one stream, byte for byte that of the C++ library and of JavaScript.

    offset 0   "TMPSTAT1"
           8   identity of the model (`identity`)
          40   the stream's row of every state tensor, in the order of the signature, little-endian, nothing between
        -32    SHA-256 of everything before it

The digest shows that nothing was damaged, not who wrote it. deploy/cpp/src/state_bytes.h says the same.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from temport.exporter.bundle.identity import identity as identity
from temport.exporter.errors import UserError

MAGIC = b"TMPSTAT1"
DIGEST = 32
HEADER = len(MAGIC) + DIGEST


def write_state(model: bytes, rows: Sequence[npt.NDArray[Any]]) -> bytes:
    """`rows` are the state tensors of one stream, in the order of the signature."""
    body = b"".join((MAGIC, model, *(_little_endian(row).tobytes() for row in rows)))
    return body + hashlib.sha256(body).digest()


def read_state(model: bytes, state: bytes, like: Sequence[npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
    """The rows, of the shapes and dtypes of `like`.

    UserError: another length, another model, damaged bytes, a bool that is neither 0 nor 1.
    """
    size = HEADER + sum(row.nbytes for row in like) + DIGEST
    if state[: len(MAGIC)] != MAGIC:
        raise _refused("it is not the saved state of a stream")
    if state[len(MAGIC) : HEADER] != model:
        raise _refused("it was saved with another model")
    if len(state) != size:
        raise _refused(f"it has {len(state)} bytes; this model's has {size}")
    if hashlib.sha256(state[:-DIGEST]).digest() != state[-DIGEST:]:
        raise _refused("it is damaged, its SHA-256 is another one")
    rows, start = [], HEADER
    for row in like:
        content = np.frombuffer(state, np.uint8, row.nbytes, start)
        if row.dtype == np.bool_ and content.max(initial=0) > 1:
            raise _refused("it holds a bool that is neither 0 nor 1")
        rows.append(_little_endian(content.view(row.dtype)).reshape(row.shape))
        start += row.nbytes
    return rows


def _little_endian(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The array as files have it and back again; on nearly every machine itself."""
    return array if sys.byteorder == "little" else array.byteswap()


def _refused(why: str) -> UserError:
    return UserError(f"the state is refused: {why}")
