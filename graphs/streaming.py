"""Running a model frame by frame: the state that its layers carry, and what makes that exact.

A stream gives one frame at a time. Every layer runs the code of its sequence form with one frame and a `Memory`
in which it finds what it left at the frame before:

    attention       the last `capacity` keys and values, this frame's included, oldest first
    moving average  its last value
    LSTM            hidden and cell state
    block-linear    keys and values of the current block, sums over the earlier blocks and over this one
    positions       how many frames came before

Step t gives what the sequence form gives at position t over frames 0..t. Attention without a window would need a
cache that grows for ever, so a stream of such a model has a *horizon* of N frames: it equals the model for the
first N frames, and from then on the model whose attention has a window of N (`limited`). A model with a window
needs no horizon.

Every state starts at zero, and zeroing a row of every state restarts the stream of that batch entry: nothing is
read from cache entries that its own `seen` mask does not allow. That mask is part of the state and only ever
shifted.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from custom_ops import MaskRule
from graphs.options import check_counts

State = dict[str, Tensor]
"""State tensors by name, each `[batch, ...]`."""

SEEN = "seen"
"""Which cache entries hold a frame of this stream, bool `[batch, capacity]`; one for all layers."""


@dataclass(frozen=True)
class StateSpec:
    """One state tensor: `[batch, *shape]`; dtype is `float` (the model's own), `bool` or `int64`."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "float"


class Stateful(ABC):
    """A layer that carries state from frame to frame."""

    @abstractmethod
    def state_specs(self) -> tuple[StateSpec, ...]:
        """Its state tensors, named within the layer. ValueError says why it cannot run frame by frame."""

    def capacity(self) -> int:
        """Entries of its caches of earlier frames, 0 where it has none."""
        return 0


class CachedAttention(Stateful):
    """A layer whose queries see earlier frames by a rule; its caches hold what the newest query may see."""

    rule: MaskRule

    def capacity(self) -> int:
        """The window. ValueError where the rule needs more than any cache of fixed size."""
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
        self._seen: Tensor | None = None
        self._block_ends: Tensor | None = None

    def read(self, layer: nn.Module, name: str) -> Tensor:
        return self._before[self._names[id(layer)] + name]

    def write(self, layer: nn.Module, name: str, value: Tensor) -> None:
        self.after[self._names[id(layer)] + name] = value

    def append(self, layer: nn.Module, name: str, newest: Tensor) -> Tensor:
        """A cache `[batch, capacity, ...]` with its oldest entry dropped and `newest` `[batch, 1, ...]` added."""
        cache = torch.cat((self.read(layer, name)[:, 1:], newest), dim=1)
        self.write(layer, name, cache)
        return cache

    def seen(self) -> Tensor:
        """`seen` with this frame added: what attention may look at in a cache."""
        if self._seen is None:
            self._seen = self.after[SEEN] = functional.pad(self._before[SEEN][:, 1:], (0, 1), value=True)
        return self._seen

    def block_ends(self) -> Tensor:
        """Where this frame fills the cache, bool `[batch, 1]`; the next frame finds it empty there."""
        if self._block_ends is None:
            self._block_ends = self.seen()[:, :1]
            self.after[SEEN] = self.seen() & ~self._block_ends
        return self._block_ends


def limited(model: nn.Module, horizon: int) -> nn.Module:
    """A copy of `model` (sharing nothing) whose attention over all earlier frames sees the last `horizon` only.

    This is the model that a stream with that horizon computes; for the first `horizon` frames it equals `model`.
    Attention that has a window keeps it.
    """
    check_counts(horizon=horizon)
    model = copy.deepcopy(model)
    for module in model.modules():
        if isinstance(module, CachedAttention):
            module.limit(horizon)
    return model


def needs_horizon(model: nn.Module) -> bool:
    """Whether some attention of `model` sees all earlier frames, so that only a horizon bounds its caches."""
    rules = [module.rule for module in model.modules() if isinstance(module, CachedAttention)]
    return any(rule.causal and not rule.window for rule in rules)


def state_specs(model: nn.Module) -> tuple[StateSpec, ...]:
    """Every state tensor of `model`, named by its layer. ValueError says why a model cannot stream."""
    specs: list[StateSpec] = []
    capacities: set[int] = set()
    for prefix, layer in _stateful(model):
        specs += [StateSpec(prefix + s.name, s.shape, s.dtype) for s in layer.state_specs()]
        capacities |= {layer.capacity()} - {0}
    if not specs:
        raise ValueError(f"{type(model).__name__} carries nothing from frame to frame")
    if len(capacities) > 1:
        raise ValueError(
            f"the attention layers keep {sorted(capacities)} frames; a stream needs one number for all of them"
        )
    return (*(StateSpec(SEEN, (capacity,), "bool") for capacity in capacities), *specs)


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
    after it.
    """
    memory = Memory(model, state)
    output = model.forward_sequence(frame, memory)[:, 0]
    return output, memory.after


def _stateful(model: nn.Module) -> Iterator[tuple[str, Stateful]]:
    """Every layer with state behind the prefix of its names."""
    for name, module in model.named_modules():
        if isinstance(module, Stateful):
            yield f"{name}." if name else "", module


def _zeros(spec: StateSpec, batch: int, like: Tensor) -> Tensor:
    dtype = like.dtype if spec.dtype == "float" else getattr(torch, spec.dtype)
    return torch.zeros(batch, *spec.shape, dtype=dtype, device=like.device)
