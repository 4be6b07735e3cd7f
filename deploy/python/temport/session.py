"""A bundle's model in this process: numpy in, numpy out, by name, with our kernels registered."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from temport.custom_ops.library import library_path
from temport.exporter.bundle.directory import Bundle, open_bundle
from temport.exporter.bundle.external_data import MODEL
from temport.exporter.errors import UserError
from temport.exporter.runtimes.native_kernels import custom_nodes, native_path
from temport.exporter.runtimes.onnxruntime_cpu import OrtSession
from temport.stream import Policy, Stream

Array = npt.NDArray[Any]


class Session:
    """The loaded model of a bundle.

    path       the bundle's directory
    digest     of the bundle, as `manifest.sha256` holds it
    inputs     name -> (dtype, shape) of each input; a dynamic axis is `(min, max)`
    outputs    the same of each output
    kernels    what runs the custom ops: "native kernels 0.1.0, avx2", with a word on each op that runs as its body all
               the same, "function body" or, where the model has none, "standard operators"
    """

    def __init__(self, bundle: Bundle, threads: int) -> None:
        self.path, self.digest = bundle.path, bundle.digest
        signature = bundle.manifest["signature"]
        self.inputs, self.outputs = (_tensors(signature[side]) for side in ("inputs", "outputs"))
        model = bundle.read(MODEL)
        nodes = custom_nodes(model)
        library = library_path() if nodes else None
        without = "function body" if nodes else "standard operators"
        self.kernels = native_path(nodes, library) if library else without
        self._manifest = bundle.manifest
        self._session = OrtSession(model, self.kernels, threads, library, bundle.weights_beside())

    def __call__(self, inputs: Mapping[str, npt.ArrayLike]) -> dict[str, Array]:
        """The outputs for these inputs, both by name.

        UserError where a name, a dtype or a shape is not what the bundle declares; nothing is converted unseen.
        """
        if set(inputs) != set(self.inputs):
            raise UserError(
                f"the model takes {', '.join(self.inputs)}; given were {', '.join(inputs) or 'none'}"
            )
        arrays = {name: np.asarray(inputs[name]) for name in self.inputs}
        for name, array in arrays.items():
            dtype, shape = self.inputs[name]
            if array.dtype != dtype or not _fits(array.shape, shape):
                raise UserError(
                    f"input {name} is {array.dtype} {list(array.shape)}; the model takes {dtype} {_told(shape)}"
                )
        return self._session.run(arrays)

    def stream(self, batch: int | None = None, *, on_nonfinite: Policy = "refuse") -> Stream:
        """A step model frame by frame, or `batch` independent streams at once (not given: the model's optimum).

        on_nonfinite  what becomes of a frame that holds NaN or infinity: "refuse" raises RefusedFrame and leaves the
                      state as it was, "pass" computes it

        UserError where the bundle is no step model or does not take so many.
        """
        return Stream(self._session.run, self._manifest, batch, on_nonfinite)


def load(path: str | Path, *, threads: int = 1, digest: str | None = None, strict: bool = False) -> Session:
    """Open the bundle at `path` on ONNX Runtime, every file checked against the manifest first.

    What runs are the very bytes that were hashed, so a file that is exchanged meanwhile changes nothing.

    threads  in all, the caller's own among them
    digest   of the bundle that is wanted, as `manifest.sha256` holds it: any other one is refused
    strict   also refuse files in the directory that the manifest does not list

    Neither torch nor onnxscript is imported. Where this installation has no op library the function bodies run, which
    give the same numbers. UserError says what is wrong with a bundle.
    """
    if path == "":
        raise UserError("name the directory of a bundle; the path is empty")
    return Session(open_bundle(Path(path), digest, strict=strict), threads)


Size = int | tuple[int, int]


def _tensors(specs: list[dict[str, Any]]) -> dict[str, tuple[np.dtype[Any], tuple[Size, ...]]]:
    return {
        spec["name"]: (
            np.dtype(spec["dtype"]),
            tuple((d["min"], d["max"]) if isinstance(d, dict) else int(d) for d in spec["shape"]),
        )
        for spec in specs
    }


def _fits(shape: tuple[int, ...], declared: tuple[Size, ...]) -> bool:
    return len(shape) == len(declared) and all(
        wanted[0] <= size <= wanted[1] if isinstance(wanted, tuple) else size == wanted
        for size, wanted in zip(shape, declared, strict=True)
    )


def _told(shape: tuple[Size, ...]) -> str:
    return "[" + ", ".join(f"{d[0]}..{d[1]}" if isinstance(d, tuple) else str(d) for d in shape) + "]"
