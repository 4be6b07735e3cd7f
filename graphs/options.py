"""Typed, documented options: one way to declare a field of a configuration and to refuse a bad value."""

from __future__ import annotations

from dataclasses import asdict, field, fields
from typing import Any

SEQ_LEN = "sequence length that the model is meant for; it runs on any other too; left out: window_size"
"""Help of an option `seq_len`, which the exporter fills in."""


def option(default: Any, help: str, choices: tuple[str, ...] | None = None) -> Any:
    """A dataclass field with a default, a one-line help text and, for names, the values it may take."""
    metadata: dict[str, Any] = {"help": help}
    if choices is not None:
        metadata["choices"] = choices
    return field(default=default, metadata=metadata)


def required(help: str) -> Any:
    """A dataclass field that the caller must give."""
    return field(metadata={"help": help})


def ignored(default: Any, why: str) -> Any:
    """A field that the reference implementation has and the model does nothing with: it takes its default only.

    why  what stands in its place
    """
    return field(default=default, metadata={"help": f"takes {default!r} only: {why}", "ignored": why})


def is_ignored(option: Any) -> bool:
    """Whether a dataclass field was declared by `ignored`."""
    return "ignored" in option.metadata


def effective(config: Any) -> dict[str, Any]:
    """The options of a configuration without the ignored ones."""
    unused = {each.name for each in fields(config) if is_ignored(each)}
    return {name: value for name, value in asdict(config).items() if name not in unused}


def check_ignored(config: Any) -> None:
    """Every ignored option has its default; ValueError says why another value would change nothing."""
    for each in fields(config):
        value = getattr(config, each.name)
        if is_ignored(each) and value != each.default:
            raise ValueError(
                f"{each.name} is {value!r}, and no value of it changes anything: {each.metadata['ignored']}; "
                f"leave {each.name} out"
            )


def check_counts(*, at_least: int = 1, **values: Any) -> None:
    """Each value must be a whole number of at least `at_least`; ValueError names the first that is not."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
            raise ValueError(f"{name} is {value!r}; it must be a whole number of at least {at_least}")


def check_rate(name: str, value: Any) -> None:
    """A dropout rate lies in [0, 1)."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise ValueError(f"{name} is {value!r}; it must be a number from 0 up to, but not including, 1")


def check_flags(**values: Any) -> None:
    """Each value must be True or False."""
    for name, value in values.items():
        if not isinstance(value, bool):
            raise ValueError(f"{name} is {value!r}; it must be true or false")


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    """The value must be one of the named choices."""
    if value not in choices:
        raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(choices)}")


def head_width(name: str, hidden_size: int, num_heads: int) -> int:
    """Width of one head, where `hidden_size` must divide evenly among the heads."""
    if hidden_size % num_heads:
        raise ValueError(
            f"{name} {hidden_size} does not divide by {num_heads} heads; give a multiple of {num_heads}"
        )
    return hidden_size // num_heads


def sequence_length(seq_len: int | None, window_size: int) -> int:
    """The length a model is meant for: `seq_len`, or `window_size` where it is left out."""
    return window_size if seq_len is None else seq_len


def check_features(name: str, x: Any, width: int) -> None:
    """A model input must be `[batch, seq, width]` with at least one frame."""
    if x.dim() != 3 or x.shape[-1] != width:
        raise ValueError(f"{name} has shape {list(x.shape)}; it must be [batch, seq, {width}]")
    if x.shape[1] == 0:
        raise ValueError(f"{name} has no frames; a sequence needs at least 1")
