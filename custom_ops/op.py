"""The contract of a custom op: one value that gathers every form of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import torch
from onnx import defs

from temport.custom_ops import stored_weight
from temport.custom_ops.mask import Rule
from temport.custom_ops.translation import translation


@dataclass(frozen=True)
class Body:
    """An ONNX function body, specialised to attributes and lengths so that its masks are constants.

    function   the FunctionProto; its inputs are the op's inputs, its attributes the op's attributes
    masks      name of each mask constant -> (rule, T, S); the constant equals `rule.array(T, S)` bit for bit
    """

    function: onnx.FunctionProto
    masks: dict[str, tuple[Rule, int, int]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Host:
    """The model that will hold a body.

    opset          its ai.onnx opset
    element_type   `float64` keeps the body in double; any other type computes in float32
    max_length     the longest dynamic length; masks are baked to it and sliced by shape
    form           one of the op's forms, or `auto`: the one that costs less
    """

    opset: int
    element_type: str = "float32"
    max_length: int | None = None
    form: str = "auto"


Outputs = npt.NDArray[np.float64] | tuple[npt.NDArray[np.float64], ...]
Specialisation = TypeVar("Specialisation")


@dataclass(frozen=True)
class CustomOp(Generic[Specialisation]):
    """One op of domain `temport` in all its forms.

    schema       registered with onnx when the op is imported
    reference    the naive float64 definition that everything else is compared with
    specialise   what of a node and its model the body depends on, as a value: nodes for which it is equal share a
                 body; ValueError for a node that no body can serve
    body         builds the ONNX function body for such a value; ValueError with one sentence where it cannot
    join         one value that serves the nodes of two, at open lengths; None where more than lengths tells them apart.
                 Left out where the body does not depend on lengths
    torch_op     the overload that `torch.export` keeps as one node, its attributes named as the node's; None where a
                 model does not call the op, but a rewrite of the exported graph puts it in the place of standard
                 operators, which are then its body
    weights      inputs that may be stored in fewer bits, each beside its `NAME_scale`, with the axis of their outputs;
                 `reference` takes their numbers in float64 as well
    """

    schema: defs.OpSchema
    reference: Callable[[Sequence[npt.NDArray[Any] | None], Mapping[str, Any]], Outputs]
    specialise: Callable[[ir.Node, Host], Specialisation]
    body: Callable[[Specialisation], Body]
    torch_op: torch._ops.OpOverload | None = None
    join: Callable[[Specialisation, Specialisation], Specialisation | None] | None = None
    weights: Mapping[str, int] = field(default_factory=dict, hash=False)

    @property
    def name(self) -> str:
        return str(self.schema.name)

    @property
    def domain(self) -> str:
        return str(self.schema.domain)

    @property
    def version(self) -> int:
        return int(self.schema.since_version)

    def body_of(self, node: ir.Node, host: Host) -> Body:
        """The body for one node of a model."""
        return self.body(self.specialise(node, host))

    def numbers_of_weights(
        self, inputs: Sequence[npt.NDArray[Any] | None]
    ) -> dict[int, npt.NDArray[Any] | None]:
        """Stored weights among `inputs` in float64, None in place of their scales, by place; `reference` gives the same
        with them. Integers whose scale is not among them are left out. ValueError where scales do not fit.
        """
        places = {parameter.name: place for place, parameter in enumerate(self.schema.inputs)}
        found: dict[int, npt.NDArray[Any] | None] = {}
        for name, axis in self.weights.items():
            weight, scale = (
                inputs[place] if (place := places[of]) < len(inputs) else None
                for of in (name, f"{name}_scale")
            )
            if weight is not None and (scale is not None or weight.dtype.name not in stored_weight.INTEGERS):
                found[places[name]] = stored_weight.numbers(weight, scale, axis)
                if scale is not None:
                    found[places[f"{name}_scale"]] = None
        return found

    def translate(self) -> Callable[..., Any]:
        """The entry of `torch_op` in `torch.onnx.export(custom_translation_table=...)`."""
        assert self.torch_op is not None, f"{self.name} has no torch op"
        return translation(self.schema, self.torch_op)
