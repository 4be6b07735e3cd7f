"""The graph after each pass as files, for who wants to see what became of a model."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import onnx
import onnx_ir as ir

from temport.exporter.errors import UserError
from temport.exporter.graph.body_domains import spread


@contextlib.contextmanager
def kept_passes(directory: Path | None) -> Iterator[Callable[[str, ir.Model], None] | None]:
    """What to call with each graph, in order: it writes `00-traced.onnx`, `01-NAME.onnx` and so on.

    None where no directory is given. UserError where the directory holds anything already, or cannot be written.
    """
    if directory is None:
        yield None
        return
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if any(directory.iterdir()):
            raise UserError(f"{directory} is not empty; give --keep-passes a new directory")
        count = 0

        def keep(name: str, model: ir.Model) -> None:
            nonlocal count
            proto = ir.to_proto(model)
            spread(proto)
            onnx.save(proto, directory / f"{count:02}-{name}.onnx")
            count += 1

        yield keep
    except OSError as error:
        raise UserError(
            f"cannot write to {directory}: {error.strerror}; choose another --keep-passes"
        ) from error
