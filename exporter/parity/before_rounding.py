"""The very graph that became a half-precision file, before its weights were rounded, and with them rounded.

In float64 the first has to be the torch source, and the second has to be the file: two questions that no rounding
blurs, in whatever type the file computes. The weights are rounded here once more, apart from the pass that did it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import ml_dtypes  # noqa: F401  # numpy knows the name bfloat16 only once this is imported
import numpy as np
import onnx
import onnx_ir as ir
from onnx import numpy_helper

from temport.exporter.declare.declaration import HALF
from temport.exporter.runtimes.op_reference import without_bodies

LOWERING = "lower_precision"


@dataclass
class BeforeRounding:
    """Watches a rewriting: give it to `rewrite` as `keep`.

    plain    the graph that was lowered, in float32
    lowered  what lowering made of it, which says where the half type is used
    """

    plain: onnx.ModelProto | None = None
    lowered: onnx.ModelProto | None = field(default=None, repr=False)

    def __call__(self, name: str, model: ir.Model) -> None:
        """Keep the last graph before the lowering, and the first after it."""
        if self.lowered is not None:
            return
        if name == LOWERING:
            self.lowered = ir.to_proto(model)
        else:
            self.plain = ir.to_proto(model)

    def unrounded(self) -> onnx.ModelProto:
        assert self.plain is not None
        return without_bodies(self.plain)

    def rounded(self) -> onnx.ModelProto:
        """The plain graph with each weight rounded where the lowered one reads it in a half type."""
        assert self.plain is not None and self.lowered is not None
        constants = dict(_constants(self.plain))
        reads = _reads(self.lowered)
        copy = onnx.ModelProto()
        copy.CopyFrom(self.plain)
        made: set[str] = set()
        for node in copy.graph.node:
            for place, name in enumerate(node.input):
                read = reads.get(node.output[0], [])
                if name not in constants or len(read) <= place:
                    continue
                suffix = read[place].removeprefix(f"{name}.")
                if suffix not in HALF:
                    continue
                node.input[place] = read[place]
                if read[place] not in made:
                    made.add(read[place])
                    array = constants[name].astype(suffix).astype(np.float32)
                    copy.graph.initializer.append(numpy_helper.from_array(array, read[place]))
        return without_bodies(copy)


def _constants(model: onnx.ModelProto) -> Iterator[tuple[str, np.ndarray]]:
    for tensor in model.graph.initializer:
        yield tensor.name, numpy_helper.to_array(tensor)
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            yield node.output[0], numpy_helper.to_array(node.attribute[0].t)


def _reads(lowered: onnx.ModelProto) -> dict[str, list[str]]:
    """First output of a node, as it was before lowering -> what the node reads now.

    An output of the model that became half is `<output>.float16` now, and a cast at the end gives it its name.
    """
    found: dict[str, list[str]] = {}
    for node in lowered.graph.node:
        if node.output:
            name, _, suffix = node.output[0].rpartition(".")
            found.setdefault(name if suffix in HALF else node.output[0], list(node.input))
    return found
