"""The contract of a runtime: a table of what it can take, and a session that turns arrays into arrays.

A runtime is one file. One that lives in another process (a C++ program, node, a browser) keeps the same
contract: its session writes the inputs as npy, starts the process and reads the outputs back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from temport.exporter.declare.declaration import Declaration

if TYPE_CHECKING:
    from temport.exporter.runtimes.subject import Subject

Arrays = dict[str, npt.NDArray[Any]]
Call = Callable[[], object]


@dataclass(frozen=True)
class Capabilities:
    """What a runtime takes; the exporter reads this to decide what is inlined or left out.

    custom_domain   runs nodes of domain `temport` with kernels of its own
    functions       runs model-local functions (otherwise they are inlined first)
    opsets          first and last ai.onnx opset
    dtypes          numpy names of the element types it takes and computes in
    dynamic_axes    one session serves several shapes
    intermediates   any tensor of the ONNX graph can be made an output, so a divergence can be located
    streams         a session answers call after call, so a step model can run frame by frame
    whole_streams   a session of a step model takes a whole stream `[batch, frames, ...]` and keeps the state itself
    exact           outputs for the same inputs are the same bytes wherever its file runs
    threads         kernels of ours divide their work among as many threads as a session is opened with
    source          it runs the subject's torch module, and not its file
    fp8             takes weights in fp8
    rounds          types that it rounds to as ONNX says it, where a file in float32 does so on the way
    """

    custom_domain: bool
    functions: bool
    opsets: tuple[int, int]
    dtypes: frozenset[str]
    dynamic_axes: bool
    intermediates: bool
    streams: bool = True
    whole_streams: bool = False
    threads: bool = False
    exact: bool = False
    source: bool = False
    fp8: bool = False
    rounds: frozenset[str] = frozenset({"fp16", "int8"})

    def refusal(self, declaration: Declaration) -> str | None:
        """Why a model with this declaration cannot run here, or None."""
        low, high = self.opsets
        if not low <= declaration.opset <= high:
            return f"it reads opsets {low} to {high} and the model has {declaration.opset}"
        needed = {spec.dtype for spec in (*declaration.inputs, *declaration.outputs)} | {
            declaration.precision
        }
        if unknown := sorted(needed - self.dtypes):
            return f"it does not compute in {', '.join(unknown)}"
        if declaration.kv_dtype not in ("float32", *self.rounds):
            return (
                "it has float16 in float32, so it reads the newest key and value as they were before rounding"
            )
        moving = [axis.name for axis in declaration.axes.values() if not axis.static]
        if moving and not self.dynamic_axes:
            return f"its shapes are fixed and the model leaves {', '.join(moving)} open"
        if declaration.of_fp8 and not self.fp8:
            return "it has no fp8"
        if declaration.input_scales and declaration.rounded_to not in self.rounds:
            return f"it rounds to {declaration.rounded_to} otherwise than ONNX says it"
        return None


EVERY_ROUNDING = frozenset({"fp16", "int8", "fp8"})
"""All types that there are to round to on the way."""


class Session(Protocol):
    """A loaded model.

    path     which implementation of the custom ops runs
    version  library and version that run it
    """

    path: str
    version: str

    def run(self, inputs: Arrays) -> Arrays:
        """Outputs by name for inputs by name, shapes and dtypes as declared."""
        ...

    def prepared(self, inputs: Arrays) -> Call:
        """See `Closing`."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class Runtime(Protocol):
    """One way to run a model.

    One whose sessions are in a process of their own has `in_process`, the same runtime without that, for whoever is
    such a process already.
    """

    name: str
    capabilities: Capabilities

    def unavailable(self) -> str | None:
        """Why it cannot run on this machine, or None. Never an error, never silently another runtime."""
        ...

    def open(self, subject: Subject, threads: int = 1) -> Session:
        """Load the subject's model."""
        ...


class Closing:
    """What a session has unless it says otherwise; one that holds more than Python objects gives it back in `close`.

    files  what it loaded of the model; empty: the model's file
    """

    files: tuple[Path, ...] = ()

    def close(self) -> None:
        """Nothing to give back."""

    def prepared(self: Session, inputs: Arrays) -> Call:
        """One run on these inputs as a call that is timed: what a program does once is done here, and arrays are bound
        where they lie. Of a step model the inputs are a frame and the state before it, or the frame alone where the
        session keeps the state; the call may go on from the state that the call before it left.
        """
        return partial(self.run, inputs)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def named(outputs: list[Any], names: list[str]) -> Arrays:
    """Pair a runtime's output list with the declared names."""
    return {name: np.asarray(value) for name, value in zip(names, outputs, strict=True)}
