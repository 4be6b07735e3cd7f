"""The engine's layer table: all that can be known of an engine without a GPU.

TensorRT-RTX prints it while it builds; TensorRT's engine inspector gives the same lines. One line per layer,
`Name: n, LayerType: t, Inputs: [...], Constants: [...], Outputs: [...], TacticName: ..., Metadata: [ONNX
Layer: x]...`. Names of generated kernels list the operations fused into them (`__myl_IotaCastLtSele_...`),
which is what tells a mask that is computed from one that is read.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from temport.exporter.compilers.contract import CompileError

_LINE = re.compile(
    r"^Name: (?P<name>.+?), LayerType: (?P<type>\w+), Inputs: \[(?P<inputs>.*?)\], "
    r"(?:Constants: \[(?P<constants>.*?)\], )?Outputs: \[(?P<outputs>(?:.*\})?\s*)\], "
    r".*?Metadata: ?(?P<metadata>.*)$"
)
_TENSOR = re.compile(r"Name: (?P<name>[^,]+), Dimensions: \[(?P<dims>[-\d,]*)\].*?Datatype: (?P<type>\w+)")
_ONNX = re.compile(r"\[ONNX Layer: ([^\]]*)\]")
_BITS = {
    "Half": 16, "BFloat16": 16, "Float": 32, "Int32": 32, "Int64": 64, "Bool": 8, "Int8": 8, "UInt8": 8, "FP8": 8,
    "Int4": 4,
}  # fmt: skip
_POSITIONS = re.compile(r"Iota")
"""Positions made at run time. Everything of ours that depends on positions is baked, so this must not
occur."""


@dataclass(frozen=True)
class LayerTensor:
    """One tensor of a layer: `shape` has -1 where the size is dynamic, `bytes` is 0 then."""

    name: str
    shape: tuple[int, ...]
    type: str

    @property
    def numbers(self) -> int:
        """0 where a size is dynamic."""
        return math.prod(max(dim, 0) for dim in self.shape)

    @property
    def bytes(self) -> int:
        return self.numbers * _BITS.get(self.type, 0) // 8


@dataclass(frozen=True)
class EngineLayer:
    """One kernel (or shape computation) of the engine."""

    name: str
    type: str
    onnx_nodes: tuple[str, ...]
    inputs: tuple[LayerTensor, ...]
    constants: tuple[LayerTensor, ...]
    outputs: tuple[LayerTensor, ...]

    @property
    def fused_attention(self) -> bool:
        return is_fused_attention(self.name)

    @property
    def plugin(self) -> bool:
        """`custom_layer` in TensorRT-RTX, `PluginV3` in TensorRT."""
        return self.type == "custom_layer" or "plugin" in self.type.lower()

    @property
    def makes_positions(self) -> bool:
        return _POSITIONS.search(self.name) is not None

    @property
    def types(self) -> tuple[str, ...]:
        """Element types of what it reads and writes, sorted."""
        return tuple(sorted({tensor.type for tensor in self.inputs + self.outputs}))


def is_fused_attention(name: str) -> bool:
    """Whether a layer of that name is one attention kernel."""
    return "_mha_" in name


def parse_layers(table: str) -> list[EngineLayer]:
    """Read the builder's `Layers:` message; CompileError for a layer in another form.

    A layer left out could be the one that computes a mask.
    """
    layers = []
    for line in table.splitlines():
        if (match := _LINE.match(line)) is None:
            if "LayerType: " in line:
                raise CompileError(
                    f"the builder's layer table has a line that cannot be read, so the engine cannot be judged: {line}"
                )
            continue
        layers.append(
            EngineLayer(
                match["name"],
                match["type"],
                tuple(_ONNX.findall(match["metadata"])),
                _tensors(match["inputs"]),
                _tensors(match["constants"] or ""),
                _tensors(match["outputs"]),
            )
        )
    return layers


def _tensors(text: str) -> tuple[LayerTensor, ...]:
    return tuple(
        LayerTensor(m["name"].strip(), tuple(int(d) for d in m["dims"].split(",") if d), m["type"])
        for m in _TENSOR.finditer(text)
    )
