"""What an exporter needs to know of a model; each architecture says it beside its code.

An architecture of this package is a file that `registry` names. One of another distribution is an entry point of
group `temport.architectures`, whose value is its `Architecture`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from temport.graphs.edifice_names import Names

Options = Mapping[str, Any]


@dataclass(frozen=True)
class InputSpec:
    """One input: axes are `batch`, `seq`, `memory` or a fixed size; dtype is a numpy name."""

    name: str
    axes: tuple[str | int, ...]
    dtype: str


def state_sequence(config: Any) -> tuple[InputSpec, ...]:
    """The one input of a model of sequences: `[batch, seq, embed_dim]`."""
    return (InputSpec("state_sequence", ("batch", "seq", config.embed_dim), "float32"),)


@dataclass(frozen=True)
class Architecture:
    """A model by name; its single output is `output`.

    config   frozen dataclass of options, each field with a type, a default and `metadata["help"]`
             (`temport.graphs.options`); a field `seq_len` takes the longest sequence that is exported
    build    config -> module. `forward_sequence(frames)`, the output at every frame, is what its stream is made of and
             compared with; without one that is `forward`, which is run on the frames so far at each of them
    example  values of the required options for a model of usual size
    small    options of models of few numbers, by a name each; together they cover what the architecture can do, with
             windows and blocks of at most 8 frames. The tests run every one of them
    stream   how exact a stream of it is, as its export says it, with `--seq` for the horizon; "no" and why where it has
             none. What differs by option says so
    inputs   config -> the inputs, in the order of the module's forward
    edifice  config -> where each own tensor lies in a file of the reference implementation; None where there is none
    """

    name: str
    summary: str
    config: type[Any]
    build: Callable[[Any], nn.Module]
    example: Options
    small: Mapping[str, Options]
    stream: str = ""
    inputs: Callable[[Any], tuple[InputSpec, ...]] = state_sequence
    edifice: Callable[[Any], Names] | None = None

    def __post_init__(self) -> None:
        if not self.small:
            raise ValueError(f"architecture {self.name} names no small model, so no test would run it")
