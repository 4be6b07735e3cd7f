"""How a user's module is called: named tensors in, whatever `forward` takes; whatever it returns, named tensors out."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from temport.exporter.declare.own_type import OwnType
from temport.exporter.declare.structured import annotations_of, parts_of, structured
from temport.exporter.errors import UserError, did_you_mean

Parameter = inspect.Parameter
FRAMES_METHOD = "forward_sequence"
HALVES = {torch.float16: "float16", torch.bfloat16: "bfloat16"}


class Called(nn.Module):
    """A user's module behind a plain signature: tensors in the order of `names` -> a tuple of tensors.

    model    theirs
    names    the inputs. One that is a parameter of `forward` goes to it; `observation.left` is the entry `left` of the
             dictionary `observation`, `features.0` the first of the list `features`; where forward's annotation is a
             dataclass or a named tuple, it gets one

    `returns` says which parts of the result are outputs, as `leaves_in` calls them; None: all.
    half_type  of a module that was widened to float32: the type that it computes in
    singles    names of its parameters and buffers that are float32 all the same, as those of a normalisation may be
    given      the type of each output, by place, where a float32 result has to be converted to it
    """

    def __init__(self, model: nn.Module, names: Sequence[str], as_entries: bool = False) -> None:
        super().__init__()
        self.model = model
        self.targets = _targets(model, names, as_entries)
        self.types = annotations_of(model.forward)
        self.returns: tuple[str, ...] | None = None
        self.half_type: torch.dtype | None = None
        self.singles: frozenset[str] = frozenset()
        self.given: dict[str, torch.dtype] = {}
        self.train(model.training)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        found = dict(self.results(*tensors))
        return tuple(
            self._given(name, found[name]) for name in (found if self.returns is None else self.returns)
        )

    def results(self, *tensors: Tensor) -> Iterator[tuple[str, Any]]:
        """Everything that `forward` returns, with its place: what is left out may be no tensor."""
        positional: list[Any] = []
        given: dict[str, Any] = {}
        for (parameter, *path), tensor in zip(self.targets, tensors, strict=True):
            if not path:
                if isinstance(parameter, int):
                    positional.append(self._taken(tensor))
                else:
                    given[parameter] = self._taken(tensor)
                continue
            place = given.setdefault(parameter, {})
            for key in path[:-1]:
                place = place.setdefault(key, {})
            place[path[-1]] = self._taken(tensor)
        whole = {name: structured(value, self.types.get(name)) for name, value in given.items()}
        meaning = OwnType(self.half_type, self._kind(self.half_type)) if self.half_type else nullcontext()
        with meaning:
            return leaves_in(self.model(*positional, **whole))

    def _given(self, place: str, result: Any) -> Any:
        kind = self.given.get(place)
        return result if kind is None or result.dtype != torch.float32 else result.to(kind)

    def _taken(self, tensor: Tensor) -> Tensor:
        """A half-precision input in the type of the model, where that was widened."""
        return tensor.to(self._kind(tensor.dtype)) if tensor.dtype in HALVES else tensor

    def _kind(self, without: torch.dtype) -> torch.dtype:
        """The type that the model computes in now; `without` where no parameter says it."""
        found = (
            p.dtype for n, p in self.named_parameters() if p.is_floating_point() and n not in self.singles
        )
        return next(found, without)


class EveryFrame(nn.Module):
    """A model of sequences that gives its output at every frame: `[batch, seq, features]` -> `([batch, seq, ...],)`.

    model  has `forward_sequence(frames)`, which gives that, beside a `forward` that gives the last frame
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.train(model.training)

    def forward(self, frames: Tensor) -> tuple[Tensor]:
        every: Any = getattr(self.model, FRAMES_METHOD)
        return (every(frames),)


def own(module: nn.Module) -> nn.Module:
    """The user's module itself, whose names its weights have."""
    while isinstance(module, Called | EveryFrame):
        module = module.model
    return module


def _targets(model: nn.Module, names: Sequence[str], as_entries: bool) -> list[tuple[Any, ...]]:
    """Where each input goes: (parameter or position, keys inside it...).

    as_entries  inputs that no parameter is called after are entries of the one dictionary that `forward` takes
    """
    named, any_name = _named(model)
    targets: list[tuple[Any, ...] | None] = []
    for name in names:
        first, *path = name.split(".")
        targets.append((first, *path) if first in named or (any_name and not path) else None)
    filled = {target[0] for target in targets if target}
    needed = [n for n, p in named.items() if p.default is Parameter.empty and n not in filled]
    left = [name for name, target in zip(names, targets, strict=True) if target is None]
    if not left:
        if needed:
            raise UserError(
                f"forward of {type(model).__name__} also needs {', '.join(needed)}; give each with --shape"
            )
        return [target for target in targets if target]
    if as_entries and len(needed) == 1:
        return [t or (needed[0], *n.split(".")) for n, t in zip(names, targets, strict=True)]
    if filled:
        raise UserError(
            f"forward of {type(model).__name__} has no parameter {left[0]!r}; {did_you_mean(left[0], named)}"
        )
    return [(place,) for place in range(len(names))]


def _named(model: nn.Module) -> tuple[dict[str, Parameter], bool]:
    """The parameters of `forward` that can be given by name, and whether it takes any other name too."""
    parameters = inspect.signature(model.forward).parameters
    usual = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
    named = {name: p for name, p in parameters.items() if p.kind in usual}
    return named, any(p.kind is Parameter.VAR_KEYWORD for p in parameters.values())


def takes_entries(model: nn.Module, names: Sequence[str]) -> bool:
    """Whether the inputs can be meant as entries of a dictionary: `forward` needs one thing that none is called."""
    named, _ = _named(model)
    firsts = {name.partition(".")[0] for name in names}
    needed = [p for p in named.values() if p.default is Parameter.empty and p.name not in firsts]
    return len(needed) == 1 and not firsts <= named.keys()


def fits_by_position(model: nn.Module, names: Sequence[str]) -> bool:
    """Whether as many tensors can be given one after the other."""
    try:
        inspect.signature(model.forward).bind(*names)
    except TypeError:
        return False
    return True


def leaves_in(result: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """All that is no structure in what `forward` returned, with its place: keys, fields and positions, joined by dots.

    None is left out.
    """
    parts = None if isinstance(result, Tensor) else parts_of(result)
    if parts is None and result is not None:
        yield place, result
    for key, value in parts or ():
        yield from leaves_in(value, f"{place}.{key}" if place else str(key))


def output_names(places: Sequence[str], taken: Sequence[str]) -> tuple[str, ...]:
    """What the outputs at these places are called: by their keys; `output`, or `output_0` and so on, by position.

    taken  names of inputs: an output called the same becomes `<name>_out`
    """
    if list(places) in ([""], ["0"]):
        return ("output",)
    found: list[str] = []
    for place in places:
        name = re.sub(r"[^\w.]", "_", f"output_{place}" if place[:1].isdigit() else place)
        while name in found or name in taken:
            name += "_out"
        found.append(name)
    return tuple(found)
