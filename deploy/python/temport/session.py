"""A bundle's model in this process: numpy in, numpy out, by name, with our kernels registered."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from temport.custom_ops.library import library_path
from temport.engine import Engine, NoEngineHere, checked_entry
from temport.exporter.bundle.directory import Bundle, open_bundle
from temport.exporter.bundle.external_data import MODEL
from temport.exporter.compilers.targets import REPORT_FILE
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
    kernels    what runs it: "native engine, avx2", without any runtime; or what runs the custom ops in ONNX Runtime:
               "native kernels 0.1.0, avx2", with a word on each op that runs as its body all the same, "function body"
               or, where the model has none, "standard operators"
    """

    def __init__(self, bundle: Bundle, threads: int, engine: Engine | None = None) -> None:
        self.path, self.digest = bundle.path, bundle.digest
        signature = bundle.manifest["signature"]
        self.inputs, self.outputs = (_tensors(signature[side]) for side in ("inputs", "outputs"))
        self._manifest, self._engine = bundle.manifest, engine
        if engine is not None:
            self.kernels = f"native engine, {engine.isa}"
            return
        model = bundle.read(MODEL)
        nodes = custom_nodes(model)
        library = library_path() if nodes else None
        without = "function body" if nodes else "standard operators"
        self.kernels = native_path(nodes, library) if library else without
        fp8 = bundle.manifest["declaration"].get("weights_dtype") == "fp8"
        self._session = OrtSession(model, self.kernels, threads, library, bundle.weights_beside(), fp8=fp8)

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
        return self._run(arrays) if self._engine is None else self._run_engine(arrays)

    def _run(self, arrays: dict[str, Array]) -> dict[str, Array]:
        return self._session.run(arrays)

    def _run_engine(self, arrays: dict[str, Array]) -> dict[str, Array]:
        """One inference in memory of its own; of a step model with the states as inputs and as outputs."""
        assert self._engine is not None
        states = self._manifest["signature"].get("states", ())
        instance = self._engine.instance(self._sizes(arrays))
        if states:
            instance.state = {pair["input"]: arrays[pair["input"]] for pair in states}
        outputs = instance.run(arrays)
        after = instance.state if states else {}
        outputs |= {pair["output"]: after[pair["input"]] for pair in states}
        return {name: outputs[name] for name in self.outputs}

    def _sizes(self, arrays: Mapping[str, Array]) -> dict[str, int]:
        """Of the open axes, by the shapes of the inputs."""
        return {
            axis["name"]: size
            for spec in self._manifest["signature"]["inputs"]
            for axis, size in zip(spec["shape"], arrays[spec["name"]].shape, strict=True)
            if isinstance(axis, dict)
        }

    def stream(self, batch: int | None = None, *, on_nonfinite: Policy = "refuse") -> Stream:
        """A step model frame by frame, or `batch` independent streams at once (not given: the model's optimum).

        on_nonfinite  what becomes of a frame that holds NaN or infinity: "refuse" raises RefusedFrame and leaves the
                      state as it was, "pass" computes it

        UserError where the bundle is no step model or does not take so many.
        """
        if self._engine is not None:
            return Stream(None, self._manifest, batch, on_nonfinite, self._engine.instance)
        return Stream(self._session.run, self._manifest, batch, on_nonfinite)


def load(
    path: str | Path,
    *,
    threads: int = 1,
    digest: str | None = None,
    strict: bool = False,
    runtime: Literal["auto", "native", "onnxruntime"] = "auto",
) -> Session:
    """Open the bundle at `path`, every file checked against the manifest first.

    What runs are the very bytes that were hashed, so a file that is exchanged meanwhile changes nothing.

    threads  of ONNX Runtime in all, the caller's own among them; a native engine runs on the caller's thread
    digest   of the bundle that is wanted, as `manifest.sha256` holds it: any other one is refused
    strict   also refuse files in the directory that the manifest does not list
    runtime  "native" or "onnxruntime"; "auto" takes the bundle's native engine where it has one for this machine

    Neither torch nor onnxscript is imported. Where this installation has no op library the function bodies run, which
    give the same numbers. UserError says what is wrong with a bundle.
    """
    if path == "":
        raise UserError("name the directory of a bundle; the path is empty")
    if runtime not in ("auto", "native", "onnxruntime"):
        raise UserError(f"runtime is 'auto', 'native' or 'onnxruntime', not {runtime!r}")
    bundle = open_bundle(Path(path), digest, strict=strict)
    return Session(
        bundle, threads, None if runtime == "onnxruntime" else _engine(bundle, needed=runtime == "native")
    )


def _engine(bundle: Bundle, needed: bool) -> Engine | None:
    """The bundle's native engine. Where it is not needed, None for one that is not there or not for this machine, which
    the log says; one of another model or version is refused all the same.
    """
    if REPORT_FILE not in bundle.manifest["files"]:
        if needed:
            raise UserError(f"{bundle.path} has no native engine; export with --target native")
        return None
    try:
        entry = checked_entry(bundle.read(REPORT_FILE), bundle.manifest["files"][MODEL]["sha256"])
    except NoEngineHere as error:
        if needed:
            raise
        logging.getLogger("temport").info("%s: ONNX Runtime runs it: %s", bundle.path, error)
        return None
    return Engine(entry, bundle.read(entry["file"]))


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
