"""The steps of a module, as one call shows them, and of the graph of a file, for `chains`."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import torch
from onnx import NodeProto, helper
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from temport.exporter.compress.chains import Factor, Step
from temport.exporter.compress.sums import leaves, source_of, tensors_of
from temport.exporter.declare.slow_path import slow_path
from temport.exporter.graph.body_domains import every_node
from temport.exporter.onnx_source.module import OnnxModule
from temport.exporter.runtimes.contract import Arrays
from temport.exporter.runtimes.subject import Subject

Steps = tuple[list[Step], set[Hashable]]
"""In order, and the values that the model gives."""


def steps_of(subject: Subject, inputs: Arrays) -> Steps:
    """Those of the source that the oracle opens, called with these inputs."""
    called = subject.module
    assert called is not None
    source = source_of(called)
    if isinstance(source, OnnxModule):
        return _of_graph(source)
    with _Recorder(source, tensors_of(called)) as recorder, torch.no_grad(), slow_path():
        given = called(*(torch.from_numpy(inputs[spec.name]) for spec in subject.declaration.inputs))
    return recorder.steps, recorder.given | {recorder.known(t) for t in leaves(given)}


class _Recorder(TorchDispatchMode):
    """Sees every operation outside of the layers that it knows, and those layers as a whole.

    Values are tensors by identity: all are kept alive meanwhile.
    """

    def __init__(self, source: nn.Module, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.steps: list[Step] = []
        self.given: set[Hashable] = set()
        self._source = source
        self._names = {id(tensor): name for name, tensor in tensors.items()}
        self._alive: list[Any] = []
        self._inside = 0
        self._hooks: list[Any] = []

    def __enter__(self) -> _Recorder:
        for name, part in self._source.named_modules():
            own = part._forward_pre_hooks or part._forward_hooks  # of the user, which may compute anything
            if type(part) in (nn.Linear, nn.LayerNorm, nn.RMSNorm) and not own:
                self._hooks.append(part.register_forward_pre_hook(self._before))
                self._hooks.append(
                    part.register_forward_hook(
                        lambda p, i, named, y, name=name: self._after(name, p, (i, named), y),
                        with_kwargs=True,
                    )
                )
        self._hooks.append(self._source.register_forward_hook(self._end))
        super().__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)
        for hook in self._hooks:
            hook.remove()

    def _before(self, part: nn.Module, given: Any) -> None:
        self._inside += 1

    def _after(self, name: str, part: nn.Module, given: Any, y: Tensor) -> None:
        self._inside -= 1
        self._alive.append((given, y))
        dense = isinstance(part, nn.Linear)
        parameters = [t for t in (part.weight, getattr(part, "bias", None)) if t is not None]
        known = [self._names.get(id(t)) for t in parameters]
        factors = tuple(Factor(n, 0) for n, t in zip(known, parameters, strict=True) if n is not None)
        whole = len(factors) == len(parameters) and (dense or all(t.ndim == 1 for t in parameters))
        self.steps.append(
            Step(
                tuple(id(t) for t in leaves(given)),
                (id(y),),
                begins=factors if whole else (),
                layer=name if dense and whole else None,
                weight=factors[0].name if dense and whole else None,
                reads=() if whole else tuple(n for n in known if n is not None),
            )
        )

    def _end(self, part: nn.Module, given: Any, result: Any) -> None:
        self._alive.append(result)
        self.given |= {self.known(t) for t in leaves(result)}

    def known(self, tensor: Tensor) -> Hashable:
        """A parameter by its name."""
        return self._names.get(id(tensor), id(tensor))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not self._inside:
            self._alive.append((args, kwargs, result))
            self.steps += self._seen(func.overloadpacket, leaves((args, kwargs)), leaves(result))
        return result

    def _seen(self, op: Any, taken: list[Tensor], given: list[Tensor]) -> Iterator[Step]:
        parameters = [(self._names[id(t)], t) for t in taken if id(t) in self._names]
        values = [t for t in taken if id(t) not in self._names]
        gives = tuple(id(t) for t in given)
        reads = tuple(name for name, _ in parameters)
        same = not set(gives) & {id(t) for t in taken} and len(given) == 1
        if op in _VECTORS and same and len(values) == len(parameters) == 1 and values[0].ndim:
            ((name, vector),) = parameters
            if vector.shape == given[0].shape[-1:] and _lie_alike(values[0], given[0]):
                factor = (Factor(name, 0),)
                begins, along = (factor, ()) if op is _aten.mul else ((), factor)
                yield Step((id(values[0]),), gives, begins=begins, carries=True, along=along)
                return
        alone = len({id(t) for t in values}) == len(values)
        carries = same and not parameters and alone and op in (_aten.mul, *_CARRY)
        for value in values:
            yield Step((id(value),), gives, carries=carries and _lie_alike(value, given[0]), reads=reads)
        if not values and reads:
            yield Step((), gives, reads=reads)


def _lie_alike(taken: Tensor, given: Tensor) -> bool:
    """Whether the entries of the last axis are still those."""
    if not taken.ndim or not given.ndim or taken.shape[-1] != given.shape[-1]:
        return False
    return taken.shape[-1] == 1 or taken.stride(-1) == given.stride(-1) == 1


_aten = torch.ops.aten
_VECTORS = (_aten.mul, _aten.add)
_CARRY = (
    *(_aten.relu, _aten.leaky_relu, _aten.view, _aten._unsafe_view, _aten.reshape, _aten.unsqueeze),
    *(_aten.squeeze, _aten.clone, _aten.alias, _aten.detach, _aten.slice, _aten.select, _aten.expand),
)
"""What gives the entries of the last axis in their order, or those of them that are above 0."""


def _of_graph(module: OnnxModule) -> Steps:
    """The same of the graph of a file, where a vector is an initializer."""
    graph = module.model.graph
    shapes = {name: tuple(t.shape) for name, t in module.named_buffers()}
    steps = [step for node in graph.node for step in _of_node(node, shapes)]
    return steps, {value.name for value in graph.output}


def _of_node(node: NodeProto, shapes: Mapping[str, tuple[int, ...]]) -> Iterator[Step]:
    inner = [name for name in _read_inside(node) if name not in node.input]
    values = tuple(name for name in (*node.input, *inner) if name and name not in shapes)
    constants = tuple(name for name in (*node.input, *inner) if name in shapes)
    gives = tuple(node.output)
    standard, one = node.domain in ("", "ai.onnx"), len(values) == 1 and node.input[0] == values[0]
    vectors = tuple(Factor(name, 0) for name in constants if len(shapes[name]) == 1)
    of_vectors = standard and one and 0 < len(vectors) == len(constants) == len(node.input) - 1
    if of_vectors and node.op_type == "LayerNormalization":
        yield Step(values, gives[:1], begins=vectors)
    elif of_vectors and node.op_type == "Mul":
        yield Step(values, gives, begins=vectors, carries=True)
    elif of_vectors and node.op_type == "Add":
        yield Step(values, gives, carries=True, along=vectors)
    elif standard and one and (outputs := _outputs_of_dense(node, shapes)) is not None:
        weight = constants[0]
        yield Step(values, gives, begins=(Factor(weight, outputs), *vectors), layer=gives[0], weight=weight)
    else:
        carries = standard and not constants and node.op_type in ("Relu", "LeakyRelu", "Identity")
        yield Step(values, gives, carries=carries, reads=constants)


def _read_inside(node: NodeProto) -> Iterator[str]:
    """Names that the graphs inside of a node read, their own among them."""
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            yield from (value.name for value in graph.output)
            yield from (name for inner in every_node(graph) for name in inner.input)


def _outputs_of_dense(node: NodeProto, shapes: Mapping[str, tuple[int, ...]]) -> int | None:
    """The axis of the outputs of a dense layer's weight; None of what is none."""
    ranks = [len(shapes.get(name, ())) for name in node.input[1:]]
    given = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    if node.op_type == "MatMul" and ranks == [2]:
        return 1
    plain = given.get("alpha", 1.0) == given.get("beta", 1.0) == 1.0 and not given.get("transA", 0)
    if node.op_type == "Gemm" and plain and ranks in ([2], [2, 1]):
        return 0 if given.get("transB", 0) else 1
    return None
