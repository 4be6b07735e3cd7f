"""The torch source as a program of torch's own operators, for what is made of a torch program and not of ONNX."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch._C import DispatchKey
from torch._inductor.constant_folding import ConstantFolder, replace_node_with_constant
from torch._ops import OpOverload, OpOverloadPacket
from torch.export import ExportedProgram
from torch.fx import GraphModule
from torch.overrides import TorchFunctionMode

from temport.custom_ops.domain import DOMAIN
from temport.exporter.declare.declaration import Declaration
from temport.exporter.declare.slow_path import slow_path


class _OwnOpsOpened(TorchFunctionMode):
    """Every operator of ours is what its kernel in torch does, which is tensors of torch's."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        op = getattr(func, "default", func) if isinstance(func, OpOverloadPacket) else func
        if isinstance(op, OpOverload) and op.namespace == DOMAIN:
            return op._op_dk(DispatchKey.CompositeExplicitAutograd, *args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def aten_program(module: nn.Module, declaration: Declaration) -> ExportedProgram:
    """`module` (float32, eval mode) as a functional program of `aten` operators, at the declared sizes.

    What depends on parameters alone, such as the kernel of an average, is a constant of it.
    """
    inputs = tuple(torch.zeros(s.at(), dtype=getattr(torch, s.dtype)) for s in declaration.inputs)
    with torch.no_grad(), slow_path(), _OwnOpsOpened():
        traced = torch.export.export(module, inputs).run_decompositions({})
        graph = traced.module(check_guards=False)
        _fold(graph)
        return torch.export.export(graph, inputs)


def _fold(graph: GraphModule) -> None:
    """Put constants in the place of what no input has a part in. Positions count as constants too, which is why this
    is not torch's own `constant_fold`.
    """
    folder = ConstantFolder(graph)
    folder.run()
    for node, value in folder.node_replacements.items():
        replace_node_with_constant(graph, node, value)
    graph.graph.eliminate_dead_code()
    graph.recompile()


def save_program(module: nn.Module, declaration: Declaration, path: Path) -> None:
    """`aten_program` in a file that `torch.export.load` reads without temport."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of how it saves its own objects
        torch.export.save(aten_program(module, declaration), path)
