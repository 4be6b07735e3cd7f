"""The contract of a custom op: one value that gathers every form of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import defs

from temport.custom_ops.mask import Rule


@dataclass(frozen=True)
class Body:
    """An ONNX function body, specialised to attributes and lengths so that its masks are constants.

    function   the FunctionProto; its inputs are the op's inputs, its attributes the op's attributes
    form       how it computes: `dense`, `banded`, `blocked` or `attention`; `standard` of an op that stands for
               standard operators
    masks      name of each mask constant -> (rule, T, S); the constant equals `rule.array(T, S)` bit for bit
    """

    function: onnx.FunctionProto
    form: str
    masks: dict[str, tuple[Rule, int, int]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Specialisation:
    """What one body is made for.

    attributes      every attribute of the node, by name
    query_length    T and S where they are fixed, None where they are dynamic
    key_width       features of K where they are fixed
    max_length      the longest dynamic length; masks are baked to it and sliced by shape
    query_rank      axes of the first input; 2 where the one row of a frame has no axis of its own
    packed          Q carries packed QKV, K and V are absent (then S = T)
    has_key_mask    the node has a key_mask
    opset           ai.onnx opset of the model that will hold the body
    form            one of the op's forms, or `auto`: the one that costs less at that length
    overload        ONNX function overload, where a model holds several bodies of one op
    element_type    `float64` keeps the body in double; any other type computes in float32
    given           names of the inputs that the node has, for an op whose body depends on them
    """

    attributes: Mapping[str, Any]
    query_length: int | None
    key_length: int | None
    key_width: int | None = None
    max_length: int | None = None
    query_rank: int = 3
    packed: bool = False
    has_key_mask: bool = False
    opset: int
    form: str = "auto"
    overload: str = ""
    element_type: str = "float32"
    given: frozenset[str] = frozenset()


Outputs = npt.NDArray[np.float64] | tuple[npt.NDArray[np.float64], ...]


@dataclass(frozen=True)
class CustomOp:
    """One op of domain `temport` in all its forms.

    schema       registered with onnx when the op is imported
    reference    the naive float64 definition that everything else is compared with
    body         builds the ONNX function body; ValueError with one sentence where it cannot
    torch_op     the overload that `torch.export` keeps as one node; None where a model does not call the op, but a
                 rewrite of the exported graph puts it in the place of standard operators, which are then its
                 body
    translate    the entry of `torch_op` in `torch.onnx.export(custom_translation_table=...)`; writes every attribute
    one_body     whether the body is the same for every node, whatever its attributes and inputs
    """

    name: str
    schema: defs.OpSchema
    reference: Callable[[Sequence[npt.NDArray[Any] | None], Mapping[str, Any]], Outputs]
    body: Callable[[Specialisation], Body]
    torch_op: torch._ops.OpOverload | None = None
    translate: Callable[..., Any] | None = None
    one_body: bool = False
    domain: str = "temport"
    version: int = 1
