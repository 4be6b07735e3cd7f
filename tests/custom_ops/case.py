"""One table of cases per op, written once for every runtime, kernel and torch op: what a file of `cases/` gives."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from hypothesis import strategies as st

from temport.custom_ops.op import CustomOp

Array = npt.NDArray[Any]
Tensors = dict[str, torch.Tensor]
EPS = {"float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7, "float64": 2.0**-52}


@dataclass(frozen=True, eq=False)
class Case:
    """One node. `inputs` by name in the op's order, float32 (int64 and bool stay), absent ones left out.

    `forms` are the bodies that the case is asked of; none where no body can serve it.
    """

    inputs: Mapping[str, Array]
    attributes: Mapping[str, Any]
    forms: tuple[str, ...] = ("auto",)

    def rounded(self, dtype: str) -> Case:
        """The inputs after rounding to `dtype`, in float32 (float64 in that): exactly what is computed with."""
        kind = getattr(torch, dtype)
        wide = torch.float64 if dtype == "float64" else torch.float32
        return Case(
            {
                name: x if x.dtype != np.float32 else torch.from_numpy(x).to(kind).to(wide).numpy()
                for name, x in self.inputs.items()
            },
            self.attributes,
            self.forms,
        )

    def __str__(self) -> str:
        shapes = ["x".join(map(str, x.shape)) or "scalar" for x in self.inputs.values()]
        values = [f"{x:.3g}" if isinstance(x, float) else str(x) for x in self.attributes.values()]
        return "-".join(["".join(name[0] for name in self.inputs), *shapes[:2], *values])


@dataclass(frozen=True)
class Refusal:
    """What must be refused in one sentence.

    change   input -> shape (None: left out), attribute -> value (None: left out), on top of the op's first case
    says     who, one or more of `reference torch body inference native` -> regular expression of the sentence
    """

    change: Mapping[str, Any]
    says: Mapping[str, str]

    def __str__(self) -> str:
        return "-".join(f"{name}={value}" for name, value in self.change.items())


@dataclass(frozen=True, eq=False)
class OpCases:
    """An op's table.

    op          the op
    cases       shapes and attributes worth naming
    anywhere    cases of odd shapes
    peer        what torch computes from the inputs by name and the attributes: an independent way to the outputs, in
                the type of the inputs and differentiable
    refused     on top of the first case
    open_shape  an input's name and shape -> the shape of a model that serves any batch and length
    opsets      form of body -> the opsets that it is built for
    dtypes      element types of the native kernel
    roundings   of the largest output that a native result may be off beside twice torch's error
    body_roundings  the same of a body, of the largest output or 1
    copies      outputs that hold inputs as they are, bit for bit
    floor       output -> what stands for its largest truth, where that is no measure
    in_place    output -> the input in whose memory it may lie
    examples    how many of `anywhere` the kernel is tried on
    """

    op: CustomOp[Any]
    cases: Sequence[Case]
    anywhere: st.SearchStrategy[Case]
    peer: Callable[[Tensors, Mapping[str, Any]], Sequence[torch.Tensor]]
    refused: Sequence[Refusal]
    open_shape: Callable[[str, tuple[int, ...]], Sequence[int | str]]
    opsets: Mapping[str, Sequence[int]] = field(default_factory=lambda: {"auto": (18, 20)})
    dtypes: Sequence[str] = ("float32",)
    roundings: float = 8
    body_roundings: float = 4
    copies: frozenset[str] = frozenset()
    floor: Mapping[str, float] = field(default_factory=dict)
    in_place: Mapping[str, str] = field(default_factory=dict)
    examples: int = 40

    @property
    def folder(self) -> str:
        return self.op.reference.__module__.split(".")[-2]

    @cached_property
    def call(self) -> Callable[..., Any]:
        """The function that a model in torch calls."""
        return getattr(importlib.import_module(f"temport.custom_ops.{self.folder}"), self.folder)

    @property
    def inputs(self) -> list[str]:
        return [p.name for p in self.op.schema.inputs]

    @property
    def outputs(self) -> list[str]:
        return [p.name for p in self.op.schema.outputs]

    def arrays(self, case: Case) -> list[Array | None]:
        """The inputs in the op's order, None for absent ones, without a tail of them."""
        found = [case.inputs.get(name) for name in self.inputs]
        while len(found) > 1 and found[-1] is None:
            found.pop()
        return found

    def truth(self, case: Case) -> dict[str, Array]:
        outputs = self.op.reference(self.arrays(case), case.attributes)
        return dict(zip(self.outputs, outputs if isinstance(outputs, tuple) else (outputs,), strict=True))

    def of_torch(self, case: Case, dtype: str) -> dict[str, torch.Tensor]:
        """The peer: computed in float32 at least, from and to `dtype`."""
        wide = torch.float64 if dtype == "float64" else torch.float32
        tensors = {
            name: x.to(wide) if x.is_floating_point() else x for name, x in tensors_of(case, dtype).items()
        }
        outputs = self.peer(tensors, case.attributes)
        return {name: y.to(getattr(torch, dtype)) for name, y in zip(self.outputs, outputs, strict=True)}

    def of_torch_op(self, case: Case, dtype: str) -> dict[str, torch.Tensor]:
        tensors = tensors_of(case, dtype)
        outputs = self.call(*(tensors.get(name) for name in self.inputs), **case.attributes)
        return dict(zip(self.outputs, outputs if isinstance(outputs, tuple) else (outputs,), strict=True))

    def excess(
        self, got: Mapping[str, Array], case: Case, dtype: str, roundings: float, least: float = 0.0
    ) -> dict[str, float]:
        """How many times each output's error is what it may be; at most 1 is right.

        It may be twice torch's own error in that type and `roundings` of the largest output, or of `least` where that
        is larger. A copy that is not one, a NaN and another shape are infinitely wrong.
        """
        truths, peers = _expected(self, case, dtype)
        found = {}
        for name, y in got.items():
            truth = truths[name]
            if y.shape != truth.shape or (name in self.copies and not np.array_equal(y, truth)):
                found[name] = np.inf
                continue
            scale = max(least, self.floor.get(name, 0.0), largest(truth))
            allowed = 2 * error(peers[name].double().numpy(), truth) + roundings * EPS[dtype] * scale
            found[name] = 0.0 if (off := error(y, truth)) == 0.0 else off / max(allowed, 1e-300)
        return found


@lru_cache(maxsize=4)
def _expected(table: OpCases, case: Case, dtype: str) -> tuple[dict[str, Array], dict[str, torch.Tensor]]:
    """The definition and the peer for inputs of that type; kept for the next runtime that is asked the same."""
    exact = case.rounded(dtype)
    return table.truth(exact), table.of_torch(exact, dtype)


def tensors_of(case: Case, dtype: str) -> Tensors:
    kind = getattr(torch, dtype)
    tensors = {name: torch.from_numpy(x) for name, x in case.inputs.items()}
    return {name: x.to(kind) if x.is_floating_point() else x for name, x in tensors.items()}


def largest(x: Array) -> float:
    return float(np.max(np.abs(x), initial=0.0))


def error(output: Array, truth: Array) -> float:
    """Largest absolute difference; a NaN counts as infinite."""
    with np.errstate(invalid="ignore"):
        difference = np.abs(output.astype(np.float64) - truth)
    return float(np.max(np.where(np.isnan(difference), np.inf, difference), initial=0.0))


def normal(seed: int, **shapes: tuple[int, ...]) -> dict[str, Array]:
    """Standard normal float32 by name."""
    random = np.random.default_rng(seed)
    return {name: random.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}


def float32(x: float) -> float:
    """As the file holds it."""
    return float(np.float32(x))
