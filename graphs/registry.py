"""The architectures by name. A new one is one file and one entry here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from temport.graphs import dms, hybrid, lightning, mega, sliding_window
from temport.graphs.edifice_names import Names
from temport.graphs.position import STREAM_FRAMES


@dataclass(frozen=True)
class InputSpec:
    """One input: axes are `batch`, `seq`, `memory` or a fixed size; dtype is a numpy name."""

    name: str
    axes: tuple[str | int, ...]
    dtype: str


@dataclass(frozen=True)
class Architecture:
    """What an exporter needs to know of a model; its single output is `output`.

    config    frozen dataclass of options, each field with a type, a default and `metadata["help"]`
    build     config -> module
    inputs    config -> the inputs, in the order of the module's forward
    example   values of the required options for a model of usual size
    edifice   config -> where each own tensor lies in a file of the reference implementation
    streams   how far it runs frame by frame (`temport.graphs.streaming`): a phrase for a table
    """

    name: str
    config: type[Any]
    build: Callable[[Any], nn.Module]
    inputs: Callable[[Any], tuple[InputSpec, ...]]
    example: dict[str, Any]
    edifice: Callable[[Any], Names]
    summary: str
    streams: str


UNBOUNDED = "exact, however long"
COUNTED = f"exact for {STREAM_FRAMES:,} frames; from then on positions count from 0 again"
WITHIN_HORIZON = "exact for the first --seq frames; from then on with a window of --seq frames"


def _state_sequence(config: Any) -> tuple[InputSpec, ...]:
    return (InputSpec("state_sequence", ("batch", "seq", config.embed_dim), "float32"),)


def _dms_inputs(config: dms.DMSConfig) -> tuple[InputSpec, ...]:
    inputs = (
        InputSpec("query", ("batch", "seq", config.hid_dim), "float32"),
        InputSpec("key", ("batch", "memory", config.hid_dim), "float32"),
        InputSpec("value", ("batch", "memory", config.hid_dim), "float32"),
    )
    return (*inputs, InputSpec("mask", ("batch", 1, 1, "memory"), "bool")) if config.masked else inputs


ARCHITECTURES: dict[str, Architecture] = {
    architecture.name: architecture
    for architecture in (
        Architecture(
            "sliding_window",
            sliding_window.SlidingWindowConfig,
            sliding_window.SlidingWindow,
            _state_sequence,
            {"embed_dim": 1024},
            sliding_window.edifice,
            "transformer whose frames attend to the last window_size frames",
            COUNTED,
        ),
        Architecture(
            "attention",
            sliding_window.AttentionConfig,
            sliding_window.SlidingWindow,
            _state_sequence,
            {"embed_dim": 1024},
            sliding_window.edifice,
            "standard entry: sliding_window with an optional hidden_size",
            COUNTED,
        ),
        Architecture(
            "hybrid",
            hybrid.HybridConfig,
            hybrid.Hybrid,
            _state_sequence,
            {"embed_dim": 1024},
            hybrid.edifice,
            "LSTM followed by causal self-attention",
            WITHIN_HORIZON,
        ),
        Architecture(
            "hybrid_mlp",
            hybrid.HybridMLPConfig,
            hybrid.HybridMLP,
            _state_sequence,
            {"embed_dim": 1024},
            hybrid.edifice_mlp,
            "hybrid with dense layers on top",
            WITHIN_HORIZON,
        ),
        Architecture(
            "mega",
            mega.MegaConfig,
            mega.Mega,
            _state_sequence,
            {"embed_dim": 287},
            mega.edifice,
            "moving average and gated single-head attention",
            f"{WITHIN_HORIZON}; not with attention_kernel=l1, which sees later frames",
        ),
        Architecture(
            "lightning",
            lightning.LightningConfig,
            lightning.Lightning,
            _state_sequence,
            {"embed_dim": 287},
            lightning.edifice,
            "softmax attention inside blocks, linear attention across them",
            f"{UNBOUNDED}; past the first block its linear branch is at work, whatever --seq is",
        ),
        Architecture(
            "dms",
            dms.DMSConfig,
            dms.build_dms,
            _dms_inputs,
            {"hid_dim": 256, "n_heads": 8},
            dms.own_names,
            "cross-attention layer of DirectMultiStep with a key mask",
            "no: its memory is given whole",
        ),
    )
}
