"""The export declaration: the single place that rules names, shapes, dynamic axes, profiles and metadata.

Everything later in the pipeline (export arguments, ONNX signature, TensorRT profiles, manifest, parity
inputs) derives from one frozen `Declaration`; nothing restates a name or a shape.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from temport.exporter.declare.sizes import names, size
from temport.exporter.declare.values import Values
from temport.exporter.errors import UserError

SEMANTICS_VERSION = 1
"""Version of the numeric definitions (custom-op domain `temport`, version 1)."""

DIALECTS = ("custom", "standard")
"""`--ops`: nodes of domain `temport` with their function bodies, or operators of ai.onnx only."""

PRECISIONS = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
"""`--precision` -> element type that the graph computes in; inputs and outputs stay float32. Behind the command line a
precision is called by its element type."""
HALF = ("float16", "bfloat16")

DYNAMIC_BATCH = (1, 8, 64)
"""min, opt, max batch of `--batch dynamic`."""
DYNAMIC_SEQ = (1, 60, 1024)
"""min, opt, max length of `--seq dynamic`; masks are baked up to the maximum."""

ONNX = "onnx"
"""The architecture of what is made of an ONNX file."""

BEFORE, AFTER = "state.", "next_state."
"""What stands before the name of a step model's state tensor as an input and as an output."""
FRAMES = "frames"
"""The state that counts the frames of a stream before this one, int64 `[batch, 1]`; it never wraps."""


@dataclass(frozen=True)
class Axis:
    """One named axis: `min == max` is static, anything else is a symbolic dimension with these bounds.

    The name of an output's axis may be an expression of input axes, such as `(seq + 1) // 2`.
    """

    name: str
    min: int
    opt: int
    max: int

    def __post_init__(self) -> None:
        if not 0 <= self.min <= self.opt <= self.max:
            raise UserError(
                f"axis {self.name} is {self.min}:{self.opt}:{self.max}; "
                "it needs min <= opt <= max, for example 1:8:64"
            )
        if not self.max:
            raise UserError(f"axis {self.name} has no entries; give it one or more")

    @property
    def static(self) -> bool:
        return self.min == self.max

    def at(self, sizes: Mapping[str, int]) -> int:
        """Its size where axes take `sizes`; `opt` where these say nothing of it."""
        known = self.name in sizes or (not self.name.isidentifier() and names(self.name) <= sizes.keys())
        return size(self.name, sizes) if known else self.opt

    @classmethod
    def parse(cls, name: str, text: str, dynamic: tuple[int, int, int], option: str = "") -> Axis:
        """Read `60`, `dynamic` or `min:opt:max`."""
        if text == "dynamic":
            return cls(name, *dynamic)
        numbers = text.split(":")
        if len(numbers) not in (1, 3) or not all(re.fullmatch(r"\d{1,9}", n) for n in numbers):
            raise UserError(
                f"{option or '--' + name} {text!r} is not understood; "
                "give a number, 'dynamic', or min:opt:max like 1:8:64"
            )
        low, *rest = (int(n) for n in numbers)
        if not option and not low:
            raise UserError(f"--{name} {text!r} begins at 0, and there has to be one; give 1 or more")
        return cls(name, low, *(rest or (low, low)))

    def __str__(self) -> str:
        return str(self.opt) if self.static else f"{self.min}:{self.opt}:{self.max}"


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of the exported model.

    `shape` mixes `Axis` and plain integers; `dtype` is a numpy name (`float32`, `bool`); `values` says which ones an
    input takes, where that is known.
    """

    name: str
    dtype: str
    shape: tuple[Axis | int, ...]
    values: Values | None = None

    def at(self, **sizes: int) -> tuple[int, ...]:
        """The concrete shape where the named axes take `sizes` (default: their `opt`)."""
        return tuple(d.at(sizes) if isinstance(d, Axis) else d for d in self.shape)

    def onnx_shape(self) -> list[int | str]:
        return [(d.opt if d.static else d.name) if isinstance(d, Axis) else d for d in self.shape]

    def axes(self) -> tuple[Axis, ...]:
        return tuple(d for d in self.shape if isinstance(d, Axis))


@dataclass(frozen=True)
class Sequences:
    """The model of sequences behind a step model that was made of its graph.

    inputs, outputs  as the model takes and gives them; the axis of time is called `seq`
    begins           for each output, frames that come before its first; until then the step model gives zeros
    delay            frames by which an output of every frame comes later than its frame
    kept             frames that the longest ring holds
    warm_up          frames after which it does not matter where a stream began; None: it always does
    window           frames that every output is computed of, zeros before the first; 0: the frames so far
    frames           of a whole stream, which ends as the table of its positions does; 0: however many
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    begins: tuple[int, ...] = ()
    delay: int = 0
    kept: int = 0
    warm_up: int | None = None
    window: int = 0
    frames: int = 0


@dataclass(frozen=True)
class Declaration:
    """What is exported.

    arch           registered architecture name, `module` for a user's own module, or `onnx` for an ONNX file
    options        the architecture's typed options, complete (defaults filled in) but for the ignored ones
    inputs/outputs signature
    opset          ai.onnx opset of the file
    ops            `custom` (nodes of domain `temport` with their function bodies) or `standard` (ai.onnx only)
    precision      element type that matrix products and attention compute in
    weights_dtype  what weights of dense and recurrent layers are stored in: `float32`, `fp16`, `int8`, `int4` or `fp8`
    input_scales   dense layers, by name (in a file that of what they give), whose input is rounded to int8, with
                   weights in fp8 to that, times this number
    kv_dtype       what the rings of keys and values of a stream hold: `float32` or `fp16`
    without        passes of the export that are left out
    seed           seeds the initial weights (when no file is given) and the parity inputs
    weights        where the weights came from: `seed`, or the file's sha256
    module         `path.py:factory` for a user's own module, the path of a file that holds the model
    returns        of a user's own module: where each output stands in what `forward` returns
    streaming      a step model: one frame and the state before it -> output and the state after it
    horizon        frames that a step model's caches keep where its attention has no window; 0 elsewhere
    sequences      of a step model that was made of a graph: the model of sequences behind it
    rate           frames of a stream per second, which the numbers do not depend on; 0: nobody said it
    """

    arch: str
    options: dict[str, Any]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    opset: int = 20
    ops: str = "custom"
    precision: str = "float32"
    weights_dtype: str = "float32"
    input_scales: dict[str, float] = field(default_factory=dict)
    kv_dtype: str = "float32"
    without: tuple[str, ...] = ()
    seed: int = 0
    weights: str = "seed"
    module: str | None = None
    returns: tuple[str, ...] = ()
    semantics: int = SEMANTICS_VERSION
    notes: tuple[str, ...] = field(default=())
    streaming: bool = False
    horizon: int = 0
    sequences: Sequences | None = None
    rate: float = 0.0

    @property
    def axes(self) -> dict[str, Axis]:
        """Every named axis of the inputs, in order of appearance."""
        return {axis.name: axis for spec in self.inputs for axis in spec.axes()}

    @property
    def of_onnx(self) -> bool:
        """Whether the source is an ONNX file: then torch has no part in its numbers."""
        return self.arch == ONNX

    @property
    def states(self) -> tuple[tuple[str, str], ...]:
        """Each state tensor of a step model by its input and its output name, in the signature's order."""
        names = [s.name.removeprefix(BEFORE) for s in self.inputs if s.name.startswith(BEFORE)]
        return tuple((BEFORE + name, AFTER + name) for name in names) if self.streaming else ()

    @property
    def window(self) -> int:
        """The attention window, 0 where the architecture has none."""
        return int(self.options.get("window_size", 0))

    @property
    def of_fp8(self) -> bool:
        """Whether weights are stored in fp8."""
        return self.weights_dtype == "fp8"

    @property
    def rounded_to(self) -> str:
        """What inputs of layers are rounded to: the type of their weights."""
        return "fp8" if self.of_fp8 else "int8"

    @property
    def numbers(self) -> str:
        """Element types in words: `float32`, or `float32, weights in int8, inputs of layers in int8`."""
        weights = f", weights in {self.weights_dtype}" if self.weights_dtype != "float32" else ""
        inputs = f", inputs of layers in {self.rounded_to}" if self.input_scales else ""
        rings = f", keys and values in {self.kv_dtype}" if self.kv_dtype != "float32" else ""
        return f"{self.precision}{weights}{inputs}{rings}"

    def to_json(self) -> dict[str, Any]:
        data = asdict(self)
        for key in ("sequences", "rate", "input_scales"):
            if not data[key]:
                del data[key]
        if self.kv_dtype == "float32":
            del data["kv_dtype"]
        return data

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Declaration:
        def spec(d: dict[str, Any]) -> TensorSpec:
            shape = tuple(Axis(**a) if isinstance(a, dict) else int(a) for a in d["shape"])
            values = d.get("values")
            return TensorSpec(d["name"], d["dtype"], shape, None if values is None else Values(**values))

        data = dict(data)
        if told := data.get("sequences"):
            sides = {side: tuple(map(spec, told[side])) for side in ("inputs", "outputs")}
            data["sequences"] = Sequences(**{**told, **sides, "begins": tuple(told["begins"])})
        if not data.pop("prune", True):  # as bundles before 0.2 say it
            data["without"] = ("prune",)
        return cls(
            **{
                **data,
                "without": tuple(data.get("without", ())),
                "returns": tuple(data.get("returns", ())),
                "inputs": tuple(map(spec, data["inputs"])),
                "outputs": tuple(map(spec, data["outputs"])),
                "notes": tuple(data["notes"]),
            }
        )
