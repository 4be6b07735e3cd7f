"""Running a model frame by frame: the state that its layers carry, and what makes that exact.

A stream gives one frame at a time. Every layer runs the code of its sequence form with one frame and a `Memory`
in which it finds what it left at the frame before:

    attention       the last N keys and values, this frame's included: frame n in row n mod N
    moving average  its last value
    LSTM            hidden and cell state
    block-linear    keys and values of the current block, sums over the earlier blocks and over this one
    all layers      how many frames came before, one counter for those that need it

Step t gives what the sequence form gives at position t over frames 0..t. Attention without a window would need a
cache that grows for ever, so a stream of such a model has a *horizon* of N frames: it equals the model for the
first N frames, and from then on the model whose attention has a window of N (`limited`). A model with a window
needs no horizon.

Every state starts at zero, and zeroing a row of every state restarts the stream of that batch entry: the counter
says which rows of a cache are filled, and no other row is read. A frame costs one row of a cache, whatever N.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from temport.custom_ops.mask import MaskRule
from temport.graphs.options import check_counts

State = dict[str, Tensor]
"""State tensors by name, each `[batch, ...]`."""

FRAMES = "frames"
"""Frames of this stream before this one, int64 `[batch, 1]`; one for all layers, and it never wraps."""


@dataclass(frozen=True)
class StateSpec:
    """One state tensor: `[batch, *shape]`; dtype is `float` (the model's own) or `int64`."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "float"


class Stateful(ABC):
    """A layer that carries state from frame to frame."""

    counts_frames = False
    """Whether it asks how many frames came before."""
    exact_frames: tuple[int, str] | None = None
    """For how many frames it gives what it gives over the whole sequence, and what happens after them; None: always."""
    stream_note = ""
    """What else is to be known of a stream of it."""

    @abstractmethod
    def state_specs(self) -> tuple[StateSpec, ...]:
        """Its state tensors, named within the layer. ValueError says why it cannot run frame by frame."""


class RuledAttention(Stateful):
    """A layer whose queries see earlier frames by a rule; its caches hold what the newest query may see."""

    counts_frames = True
    rule: MaskRule

    def capacity(self) -> int:
        """Rows of its caches: the window. ValueError where the rule needs more than any cache of fixed size."""
        if self.rule.window:
            return self.rule.window
        if not self.rule.causal:
            raise ValueError(
                "attention that is not causal sees later frames, so it cannot run frame by frame"
            )
        raise ValueError("attention over all earlier frames needs a horizon to run frame by frame")

    def limit(self, horizon: int) -> None:
        """Give causal attention without a window the window `horizon`."""
        if self.rule.causal and not self.rule.window:
            self.rule = MaskRule(causal=True, window=horizon)


class Memory:
    """What the layers of one model carry over one step: read the state before, write the state after."""

    def __init__(self, model: nn.Module, state: State) -> None:
        self._names = {id(module): f"{name}." if name else "" for name, module in model.named_modules()}
        self._before = state
        self.after: State = {}

    def read(self, layer: nn.Module, name: str) -> Tensor:
        return self._before[self._names[id(layer)] + name]

    def write(self, layer: nn.Module, name: str, value: Tensor) -> None:
        self.after[self._names[id(layer)] + name] = value

    def frames(self) -> Tensor:
        """How many frames came before this one, int64 `[batch, 1]`; the counter in the state moves on by one.

        ValueError where no layer says that it counts them.
        """
        if FRAMES not in self._before:
            raise ValueError("no layer of the model has counts_frames = True, so its state has no counter")
        if FRAMES not in self.after:
            self.after[FRAMES] = self._before[FRAMES] + 1
        return self._before[FRAMES]


def limited(model: nn.Module, horizon: int) -> nn.Module:
    """A copy of `model` (sharing nothing) whose attention over all earlier frames sees the last `horizon` only.

    This is the model that a stream with that horizon computes; for the first `horizon` frames it equals `model`.
    Attention that has a window keeps it.
    """
    check_counts(horizon=horizon)
    model = copy.deepcopy(model)
    for module in model.modules():
        if isinstance(module, RuledAttention):
            module.limit(horizon)
    return model


def needs_horizon(model: nn.Module) -> bool:
    """Whether some attention of `model` sees all earlier frames, so that only a horizon bounds its caches."""
    rules = [module.rule for module in model.modules() if isinstance(module, RuledAttention)]
    return any(rule.causal and not rule.window for rule in rules)


def exactness(model: nn.Module) -> str:
    """How far a stream of `model` gives what `model` gives over the whole sequence: a phrase, made of what its layers
    say. `--seq` stands for the horizon. ValueError says why it cannot stream.
    """
    state_specs(limited(model, 1))
    layers = [layer for _, layer in _stateful(model)]
    limits = sorted({layer.exact_frames for layer in layers if layer.exact_frames})
    if needs_horizon(model):
        phrases = ["exact for the first --seq frames", "from then on with a window of --seq frames"]
    elif limits:
        count, then = limits.pop(0)
        phrases = [f"exact for {count:,} frames", f"from then on {then}"]
    else:
        phrases = ["exact, however long"]
    phrases += [f"after {count:,} frames {then}" for count, then in limits]
    return "; ".join([*phrases, *sorted({layer.stream_note for layer in layers} - {""})])


def state_specs(model: nn.Module) -> tuple[StateSpec, ...]:
    """Every state tensor of `model`, named by its layer. ValueError says why a model cannot stream."""
    specs: list[StateSpec] = []
    counted = False
    for prefix, layer in _stateful(model):
        specs += [StateSpec(prefix + s.name, s.shape, s.dtype) for s in layer.state_specs()]
        counted |= layer.counts_frames
    if counted:
        specs.insert(0, StateSpec(FRAMES, (1,), "int64"))
    if not specs:
        raise ValueError(f"{type(model).__name__} carries nothing from frame to frame")
    names = [spec.name for spec in specs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{type(model).__name__} has two states named {', '.join(twice)}; give each its own")
    return tuple(specs)


def initial_state(model: nn.Module, batch: int) -> State:
    """The state before the first frame: zeros, on the device and in the dtype of the model's parameters."""
    like = next(model.parameters())
    return {s.name: _zeros(s, batch, like) for s in state_specs(model)}


class StepModel(nn.Module):
    """`(frame [batch, 1, embed_dim], *state) -> (output [batch, hidden], *state after)`, states in the order of
    `specs`: the flat form that a trace and a runtime take.

    model  an architecture of this package; its mode, training or eval, is taken over
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.specs = state_specs(model)
        self.train(model.training)

    def forward(self, frame: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        if frame.dim() != 3 or frame.shape[1] != 1:
            raise ValueError(f"frame has shape {list(frame.shape)}; it must be [batch, 1, features]")
        names = [spec.name for spec in self.specs]
        if len(state) != len(names):
            raise ValueError(f"{len(state)} state tensors were given; the model has {len(names)}: {names}")
        output, after = step(self.model, frame, dict(zip(names, state, strict=True)))
        return (output, *(after[name] for name in names))


def step(model: Any, frame: Tensor, state: State) -> tuple[Tensor, State]:
    """One frame `[batch, 1, embed_dim]` through `model` (eval mode): its output `[batch, hidden]` and the state
    after it. ValueError where a layer did not write a state that it has.
    """
    memory = Memory(model, state)
    output = model.forward_sequence(frame, memory)[:, 0]
    if missing := sorted(set(state) - set(memory.after)):
        raise ValueError(f"{type(model).__name__} did not write {', '.join(missing)} after a frame")
    return output, memory.after


def _stateful(model: nn.Module) -> Iterator[tuple[str, Stateful]]:
    """Every layer with state behind the prefix of its names."""
    for name, module in model.named_modules():
        if isinstance(module, Stateful):
            yield f"{name}." if name else "", module


def _zeros(spec: StateSpec, batch: int, like: Tensor) -> Tensor:
    dtype = like.dtype if spec.dtype == "float" else getattr(torch, spec.dtype)
    return torch.zeros(batch, *spec.shape, dtype=dtype, device=like.device)
