"""A program that torch.export made, at hand or in a `.pt2` file: the module behind it, and the inputs that it states.

Loading such a file unpickles parts of it, which can run any code, as importing a Python file can.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from temport.exporter.declare.call import HALVES
from temport.exporter.declare.declaration import DYNAMIC_SEQ, Axis, TensorSpec
from temport.exporter.declare.live import Range, by_name, flat, in_range
from temport.exporter.declare.values import INTEGERS, Values
from temport.exporter.errors import UserError, did_you_mean, users_code

SUFFIX = ".pt2"
CHECKS = (torch.ops.aten._assert_tensor_metadata.default,)
CASTS = (torch.ops.aten.to.dtype,)


def load_program(path: Path) -> ExportedProgram:
    """The program of a `.pt2` file; only of a file that you trust."""
    if not path.is_file():
        raise UserError(
            f"{path} does not exist; --module wants FILE.py:FACTORY or a {SUFFIX} file of torch.export.save"
        )
    with users_code(f"{path} is no program of torch.export.save"):
        return torch.export.load(path)


def program_module(program: ExportedProgram) -> nn.Module:
    """The program as a module that can be converted to another floating-point type.

    What it was traced with asserts that tensors are float32, or makes them so where they are: both say nothing, and
    would keep the module from computing in float64.
    """
    warnings.filterwarnings(
        "ignore", message=".*LeafSpec", category=FutureWarning
    )  # torch's own, at every copy
    module: Any = copy.deepcopy(program.module())  # the copy takes eval(), the original refuses it
    for node in list(module.graph.nodes):
        if node.target in CHECKS:
            module.graph.erase_node(node)
        elif node.target in CASTS and _is_single(node) and _is_single(node.args[0]):
            node.replace_all_uses_with(node.args[0])
            module.graph.erase_node(node)
    module.recompile()
    assert isinstance(module, nn.Module)
    return module


def program_specs(
    program: ExportedProgram, ranges: Mapping[str, Range] | None = None
) -> tuple[TensorSpec, ...]:
    """The inputs of a program: its dynamic dimensions are axes called by the first place where they stand, `x_1`.

    ranges  sizes of these axes in place of the program's own ranges
    """
    ranges = ranges or {}
    placeholders = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    tensors = [
        placeholders[name].meta["val"] for name in program.graph_signature.user_inputs if name in placeholders
    ]
    in_spec = program.call_spec.in_spec
    if in_spec is None or in_spec.num_leaves != len(tensors):
        raise UserError(
            "the program takes what is no tensor; export it again with tensors as its only inputs"
        )
    names = _names(program, tensors)
    if program.example_inputs is None:
        examples: list[Any] = [None] * len(tensors)
    else:
        examples = pytree.tree_leaves(program.example_inputs)
    axes: dict[str, Axis] = {}
    specs = []
    for name, tensor, example in zip(names, tensors, examples, strict=True):
        if not isinstance(tensor, torch.Tensor):
            raise UserError(f"input {name} of the program is no tensor; export it again with tensors alone")
        shape: list[Axis | int] = []
        for place, dim in enumerate(tensor.shape):
            if isinstance(dim, int):
                shape.append(dim)
                continue
            if str(dim) not in axes:
                axes[str(dim)] = _axis(f"{name.replace('.', '_')}_{place}", dim, program, ranges)
            shape.append(axes[str(dim)])
        specs.append(TensorSpec(name, _dtype(tensor), tuple(shape), _values(tensor, example)))
    known = [axis.name for axis in axes.values()]
    if unknown := [name for name in ranges if name not in known]:
        raise UserError(f"the program has no axis {unknown[0]!r}; {did_you_mean(unknown[0], known)}")
    return tuple(specs)


def _names(program: ExportedProgram, tensors: list[Any]) -> list[str]:
    """What the inputs are called by the parameters of `forward`, with keys and places inside them."""
    positions = [torch.tensor(place) for place in range(len(tensors))]
    arguments, keywords = pytree.tree_unflatten(positions, program.call_spec.in_spec)
    found = {
        int(position): name for name, position in flat({**by_name(program.module(), arguments), **keywords})
    }
    return [found[place] for place in range(len(tensors))]


def _axis(name: str, dim: torch.SymInt, program: ExportedProgram, ranges: Mapping[str, Range]) -> Axis:
    symbol = dim.node.expr
    if not symbol.is_symbol:
        raise UserError(
            f"axis {name} of the program is {symbol}, computed from another axis; give the inputs with --shape"
        )
    bounds = program.range_constraints[symbol]
    low = max(int(bounds.lower), 1)
    high = int(bounds.upper) if bounds.upper.is_Integer else DYNAMIC_SEQ[2]
    usual = dim.node.hint if dim.node.hint is not None else DYNAMIC_SEQ[1]
    opt = min(max(int(usual), low), high)
    return in_range(name, ranges[name]) if name in ranges else Axis(name, low, opt, high)


def _values(tensor: torch.Tensor, example: Any) -> Values | None:
    """Integers take the range of the example that the program was made with."""
    if _dtype(tensor) not in INTEGERS or not isinstance(example, torch.Tensor) or not example.numel():
        return None
    return Values(str(int(example.min())), str(int(example.max()) + 1))


def _dtype(tensor: torch.Tensor) -> str:
    return HALVES.get(tensor.dtype) or str(tensor.dtype).removeprefix("torch.")


def _is_single(node: Any) -> bool:
    value = getattr(node, "meta", {}).get("val")
    return isinstance(value, torch.Tensor) and value.dtype == torch.float32
