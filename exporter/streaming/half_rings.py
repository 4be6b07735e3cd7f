"""Rings of keys and values in float16: what was asked, and whether a model can have it."""

from __future__ import annotations

from dataclasses import replace

from temport.exporter.declare.declaration import Declaration
from temport.exporter.errors import UserError

HALF = "fp16"
"""As it is asked for, and as a declaration says it."""
FLOAT32 = "float32"
STAY = "keys and values of "
"""So begins what is said of a layer that keeps floats."""
TARGETS_THAT_HOLD = ("native",)
"""Those whose engines read such rings as they are."""


def declared_halves(
    declaration: Declaration, kind: str, *, streaming: bool, window: int | None, target: str | None
) -> Declaration:
    """The declaration with `kind` for keys and values; UserError for a type that there is not, and for what cannot be
    together with it.

    target  that an engine is to be made for
    """
    if kind != HALF:
        raise UserError(f"--kv-dtype {kind!r} is unknown; give {HALF}")
    if not streaming:
        raise UserError(
            "--kv-dtype says what the rings of a stream hold; give --streaming too, or leave it out"
        )
    if window is not None:
        raise UserError(
            "--kv-dtype is for rings of keys and values, which --window computes anew; leave out one of them"
        )
    if declaration.precision != FLOAT32:
        raise UserError(
            f"--kv-dtype {kind} is for a model that computes in float32, and this one computes in "
            f"{declaration.precision}; give --precision fp32"
        )
    made = replace(declaration, kv_dtype=kind)
    check_held(made, target)
    return made


def check_held(declaration: Declaration, target: str | None) -> None:
    """UserError where the model keeps rings of float16, and an engine for `target` would not."""
    if declaration.kv_dtype != HALF or target is None:
        return
    if target not in TARGETS_THAT_HOLD:
        raise UserError(
            f"--target {target} cannot hold keys and values in float16; leave --kv-dtype out for it"
        )


def check_found(declaration: Declaration, layers: tuple[str, ...], told: tuple[str, ...]) -> None:
    """UserError where halves were asked for, and no layer keeps any; `told` says why some do not."""
    if declaration.kv_dtype == HALF and not layers:
        why = next((f" ({reason})" for reason in told if reason.startswith(STAY)), "")
        raise UserError(
            f"--kv-dtype {HALF} finds no attention whose keys and values a ring keeps in float16{why}; leave it out"
        )
