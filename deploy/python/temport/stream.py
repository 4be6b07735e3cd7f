"""A step model frame by frame, its state kept inside: numpy in, numpy out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from temport.exporter.bundle.signature_rules import COUNTER
from temport.exporter.errors import UserError
from temport.state_bytes import identity, read_state, write_state

Array = npt.NDArray[Any]
Policy = Literal["refuse", "pass"]
Run = Callable[[dict[str, Array]], dict[str, Array]]


class RefusedFrame(UserError):
    """A frame that holds NaN or infinity: the stream never saw it and goes on with the next one."""


class EndedStream(UserError):
    """A frame after the last that the model has a position for: the stream never saw it, and `reset` starts it anew."""


class Steps(Protocol):
    """What runs frames and carries their state, `name -> tensor`."""

    state: dict[str, Array]

    def run(self, frame: dict[str, Array]) -> dict[str, Array]:
        """The outputs of one more frame."""
        ...


class HandedOver:
    """Steps of a model that takes its state as inputs and gives the next one as outputs."""

    def __init__(self, run: Run, following: Mapping[str, str], state: dict[str, Array]) -> None:
        self._run, self._following, self.state = run, following, state

    def run(self, frame: dict[str, Array]) -> dict[str, Array]:
        result = self._run({**frame, **self.state})
        self.state = {before: result[after] for before, after in self._following.items()}
        return result


class Stream:
    """`entries` independent streams that advance together; their state is zero before the first frame.

    entries  how many there are
    shape    of a frame: `(entries, 1, features)`; of a model with several inputs, of the first
    dtype    likewise
    shapes   of all inputs, by name
    """

    def __init__(
        self,
        run: Run | None,
        manifest: Mapping[str, Any],
        batch: int | None = None,
        on_nonfinite: Policy = "refuse",
        steps: Callable[[dict[str, int]], Steps] | None = None,
    ) -> None:
        """`Session.stream` calls this.

        run    one inference of the model that `manifest` describes
        steps  in its place, what carries the state itself, for these sizes of the open axes
        """
        signature = manifest["signature"]
        if not signature.get("states"):
            raise UserError(
                "the model takes whole sequences; a stream needs a step model (temport export --streaming)"
            )
        if on_nonfinite not in ("refuse", "pass"):
            raise UserError(f"on_nonfinite is 'refuse' or 'pass', not {on_nonfinite!r}")
        specs = {spec["name"]: spec for spec in signature["inputs"]}
        frame = signature["inputs"][0]
        self.entries = _entries(frame["shape"][0], batch)
        self._passes = on_nonfinite == "pass"
        self._frame = frame["name"]
        following = {pair["input"]: pair["output"] for pair in signature["states"]}
        self.shapes = {
            name: (self.entries, *spec["shape"][1:]) for name, spec in specs.items() if name not in following
        }
        self._dtypes = {name: np.dtype(specs[name]["dtype"]) for name in self.shapes}
        self.shape, self.dtype = self.shapes[self._frame], self._dtypes[self._frame]
        states = set(following.values())
        self._outputs = [spec["name"] for spec in signature["outputs"] if spec["name"] not in states]
        self._zeros = {
            name: np.zeros((self.entries, *specs[name]["shape"][1:]), specs[name]["dtype"])
            for name in following
        }
        self._model = identity(manifest["files"])
        self._end = (manifest.get("stream") or {}).get("frames", 0)
        self._seen = np.zeros(self.entries, np.int64)
        axis = frame["shape"][0]
        self._steps: Steps
        if steps is not None:
            self._steps = steps({axis["name"]: self.entries} if isinstance(axis, dict) else {})
        else:
            assert run is not None
            self._steps = HandedOver(run, following, dict(self._zeros))

    def __call__(self, frame: npt.ArrayLike | Mapping[str, npt.ArrayLike]) -> Any:
        """The output `(entries, ...)` after one more frame, `(entries, 1, features)` or without the axes of size 1.

        An array; where the model has several outputs, a dictionary of them by name. A model with several inputs takes a
        dictionary of them by name.

        RefusedFrame where it holds NaN or infinity, unless the stream was made to pass them: one that is passed ends
        up in the state, and in most architectures every later output of that stream is NaN. UserError where shape or
        dtype are others; nothing is converted unseen. EndedStream where the model has positions for as many frames as
        came. After an error the state is the one before this frame.
        """
        given = frame if isinstance(frame, Mapping) else {self._frame: frame}
        if given.keys() != self.shapes.keys():
            raise UserError(f"a frame is {', '.join(self.shapes)}; given was {', '.join(given) or 'nothing'}")
        arrays = {name: self._taken(name, value) for name, value in given.items()}
        if not self._passes:
            for name, array in arrays.items():
                self._check(name, array)
        self._check_end()
        result = self._steps.run(arrays)
        self._seen += 1
        outputs = {name: result[name] for name in self._outputs}
        return outputs if len(outputs) > 1 else result[self._outputs[0]]

    def reset(self, entry: int | None = None) -> None:
        """Every stream, or the one at `entry`, starts anew."""
        if entry is None:
            self._steps.state = dict(self._zeros)
            self._seen[:] = 0
        else:
            self._replace(entry, [row[self._known(entry)] for row in self._zeros.values()])

    @property
    def poisoned(self) -> bool:
        """Whether the state holds NaN or infinity: a frame was passed that did, or a number overflowed."""
        return any(not np.isfinite(tensor).all() for tensor in self._steps.state.values())

    def poisoned_entry(self, entry: int) -> bool:
        """The same of one stream, which `reset(entry)` starts anew."""
        return any(not np.isfinite(row).all() for row in self._rows(entry))

    def save(self, entry: int = 0) -> bytes:
        """The state of one stream, to go on from in any stream of the same model, here, in C++ or in JavaScript."""
        return write_state(self._model, self._rows(entry))

    def restore(self, state: bytes, entry: int = 0) -> None:
        """Go on from what `save` gave. UserError at other or damaged bytes, which change nothing."""
        self._replace(entry, read_state(self._model, bytes(state), self._rows(entry)))

    def _rows(self, entry: int) -> list[Array]:
        return [tensor[self._known(entry)] for tensor in self._steps.state.values()]

    def _replace(self, entry: int, rows: list[Array]) -> None:
        state = {name: tensor.copy() for name, tensor in self._steps.state.items()}
        for tensor, row in zip(state.values(), rows, strict=True):
            tensor[entry] = row
        self._steps.state = state
        if self._end:
            self._seen[entry] = state[COUNTER][entry, 0]

    def _known(self, entry: int) -> int:
        if not 0 <= entry < self.entries:
            raise UserError(f"there is no stream {entry} among {self.entries}")
        return entry

    def _taken(self, name: str, value: npt.ArrayLike) -> Array:
        """One input in the shape that the model takes."""
        array, shape, dtype = np.asarray(value), self.shapes[name], self._dtypes[name]
        if array.dtype != dtype or array.shape not in _spellings(shape):
            what = "a frame" if len(self.shapes) == 1 else name
            raise UserError(f"{what} is {dtype} {list(shape)}; given was {array.dtype} {list(array.shape)}")
        return np.ascontiguousarray(array.reshape(shape))

    def _check_end(self) -> None:
        if self._end and (self._seen >= self._end).any():
            raise EndedStream(
                f"the frame is refused: stream {int(self._seen.argmax())} of the batch has had {self._end} frames, "
                "and the model has positions for no more; reset starts it anew"
            )

    def _check(self, name: str, frame: Array) -> None:
        finite = np.isfinite(frame)
        if finite.all():
            return
        place = np.unravel_index(int(np.argmin(finite)), frame.shape)
        what = "NaN" if np.isnan(frame[place]) else "infinity"
        raise RefusedFrame(
            f"the frame is refused: {name} holds {what} in row {place[0]} of the batch; the state is as it was"
        )


def _spellings(shape: tuple[int, ...]) -> set[tuple[int, ...]]:
    """The shapes that mean this one: without a time of one frame, and without a batch of one stream."""
    batch, *inner = shape
    short = tuple(inner[1:]) if inner[:1] == [1] else tuple(inner)
    return {shape, (batch, *short)} | ({short} if batch == 1 else set())


def _entries(axis: int | dict[str, Any], batch: int | None) -> int:
    """How many streams: `batch`, or what the model's axis says is best."""
    low, best, high = (axis, axis, axis) if isinstance(axis, int) else (axis["min"], axis["opt"], axis["max"])
    wanted = best if batch is None else batch
    if not low <= wanted <= high:
        raise UserError(
            f"{wanted} streams at once; the model takes {low if low == high else f'{low} to {high}'}"
        )
    return int(wanted)
