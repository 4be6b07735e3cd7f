"""What one row of the operator table says of an operator."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from temport.exporter.graph.flop_rules import FlopRule


class Along(Enum):
    """What an entry of the output takes of the inputs along an axis, of time above all."""

    UNKNOWN = auto()
    """Nobody has said it yet; a pass that asks must assume everything."""
    EACH = auto()
    """The entry at the same place; operands broadcast. Such an operator is elementwise."""
    ROWS = auto()
    """The same row of the first input; the last axis is worked through, with a matrix."""
    FROM_AXIS = auto()
    """The same entry along the axes before `axis`; that one and those behind it are worked through together."""
    ACROSS_AXIS = auto()
    """The same entry along every axis but `axis`."""
    BESIDE_AXES = auto()
    """The same entry along every axis that is not reduced."""
    RENAMED = auto()
    """The same entry, where an axis of the input is still an axis of the output."""
    CUT = auto()
    """The same entry along the axes that are not cut; along those, one further on."""
    PERMUTED = auto()
    """The same entry, along another axis."""
    PICKED = auto()
    """What constant or computed indices pick along `axis`."""
    QUERIES = auto()
    """Row t of Q, and the rows of K and V that its mask rule allows."""
    WINDOW = auto()
    """A receptive field of fixed width."""
    ALL = auto()
    """Any entry: all before it in a recurrence or a running sum, or those that a state holds."""


class Time(Enum):
    """What the operator's next frame needs, where `Along` alone does not say it: rules of `exporter/streaming`."""

    ALONG = auto()
    """What `along` says: of time, nothing but this frame, or it is refused."""
    FILLED = auto()
    """This frame, in a shape that other values say."""
    SELECTED = auto()
    """One of the frames, or all from one on."""
    PLACED = auto()
    """This frame, with others in the place of some of its entries."""
    CONTEXT = auto()
    """This frame, and what stands in front of the first."""
    PRODUCT = auto()
    """This frame, where time is no axis that is summed over."""
    CHANNELS = auto()
    """This frame, where time is not the axis of channels."""
    RECEPTIVE = auto()
    """The frames under a kernel, or the largest or the mean of them."""
    RECURRENT = auto()
    """Its state."""
    SUM = auto()
    """The sum of the frames so far."""
    AVERAGE = auto()
    """Its last value."""
    CARRIED = auto()
    """What its body carries from frame to frame."""
    ATTENTION = auto()
    """Keys and values of the frames that its rule allows."""
    BLOCKS = auto()
    """Keys and values of this block, and sums over the blocks before."""


class Half(Enum):
    """What becomes of an operator when a graph is lowered to float16 or bfloat16."""

    SINGLE = auto()
    """It stays in float32."""
    SUMS = auto()
    """It takes half types: it sums products with a float32 accumulator wherever those are fast."""
    FOLLOWS = auto()
    """It has its inputs' type: it rounds once per element, or not at all."""
    UNTYPED = auto()
    """It takes any float, and its result does not depend on the type."""


@dataclass(frozen=True)
class Native:
    """What an elementwise operator computes, in C++ of custom_ops/engine: of elements a, b, ... of its inputs.

    `{inputs}` is all of them, in order; `{type}` the output's type; another name in braces is an attribute.

    floats  of float32 inputs and output, vectors at a time
    others  of any other types, element by element; of floats too where `floats` is not there
    """

    floats: str | None = None
    others: str | None = None


@dataclass(frozen=True, kw_only=True)
class Operator:
    """One operator.

    along              what an entry of the output takes along an axis
    time               what its next frame needs, in a stream
    half               its type in a half-precision graph
    moves              gives elements of its first inputs in other places, and zeros between them; computes none
    renames            moves nothing either: the elements stay in their order, whatever the shape
    joins_masks        gives a mask that its masks decide: a mask behind it is as baked as they are
    activation         of `FusedDense`, which does the same in its epilogue; the node has no attribute of its own then
    flops              multiplications and additions of matrix products; None for an operator that has none
    attention          `softmax` or `linear`: the kind of sums over keys that an op of ours is made of
    frame              takes one frame of a stream, its first input, with keys and values as second and third, and
                       gives one, its first output, with the next keys and values in the same places
    standard_attention  has a body whose softmax is one `ai.onnx::Attention`
    native             how a native engine computes an elementwise operator
    """

    along: Along = Along.UNKNOWN
    time: Time = Time.ALONG
    half: Half = Half.SINGLE
    moves: bool = False
    renames: bool = False
    joins_masks: bool = False
    activation: str | None = None
    flops: FlopRule | None = None
    attention: str | None = None
    frame: bool = False
    standard_attention: bool = False
    native: Native | None = None

    @property
    def elementwise(self) -> bool:
        """Whether each element of the output depends on the inputs' elements at its place alone."""
        return self.along is Along.EACH
