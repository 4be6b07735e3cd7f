"""Runtimes that run a form of their own of the model: `.pte`, `.vmfb`, C source.

Each form is one file beside this one (`own_form.Form`). Here is what all of them share: the conversion in a process of
its own, and the session. A form is native code, or becomes some: hashes show that it is whole, and one in a bundle from
a stranger is a stranger's program.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import Any

import onnx

from temport.exporter.compilers.targets import REPORT_FILE, enter, entry_of
from temport.exporter.errors import UserError
from temport.exporter.runtimes.apart import Apart, ApartSession
from temport.exporter.runtimes.contract import Arrays, Closing, Session, named
from temport.exporter.runtimes.contract import Call as Prepared
from temport.exporter.runtimes.converted_files import (
    SIGNATURE,
    link_verified,
    put,
    target_of,
)
from temport.exporter.runtimes.environments import ONNX2FX
from temport.exporter.runtimes.own_form import Call, Form, Signature
from temport.exporter.runtimes.subject import Subject
from temport.plugins import first_line

PROGRAM = "program.pt2"
CONVERTING = 1800.0
"""Seconds in which a conversion has ended; compilers of whole models take minutes on a loaded machine."""


_KEPT: ContextVar[Path | None] = ContextVar("kept", default=None)


@contextlib.contextmanager
def keeping(folder: Path) -> Iterator[None]:
    """What is converted in here lies in `folder` and is not made again: what is judged is what is timed then."""
    before = _KEPT.set(folder)
    try:
        yield
    finally:
        _KEPT.reset(before)


class Converted:
    """The row of a form: of the bundle's files where it has them, else of a conversion made for this session."""

    def __init__(self, form: Form) -> None:
        self.form, self.name, self.capabilities = form, form.name, form.capabilities

    def unavailable(self) -> str | None:
        missing = self.form.environment.missing() if self.form.environment is not None else None
        return missing or self.form.missing()

    def open(self, subject: Subject, threads: int = 1) -> Session:
        """UserError for a model that the runtime does not take, and for files of a bundle that were changed."""
        kept = _KEPT.get()
        scratch = None if kept is not None else tempfile.TemporaryDirectory(prefix="temport-converted-")
        of_bundle = self._entry(subject) is not None
        try:
            ready = self._ready(subject, kept if scratch is None else Path(scratch.name))
            inner = Apart(ready).open(subject, threads)
            return _Opened(inner, "the bundle's form" if of_bundle else "converted here", scratch)
        except BaseException:
            if scratch is not None:
                scratch.cleanup()
            raise

    def ready(self, subject: Subject) -> _Apart:
        """The same for a process of its own, within `keeping`. UserError as of `open`."""
        return self._ready(subject, _KEPT.get())

    def _ready(self, subject: Subject, root: Path | None) -> _Apart:
        """Of a folder in `root` for this very model: the bundle's files, else a conversion, unless it is there."""
        assert root is not None, "within `keeping`"
        folder = root / f"{self.name}-{hashlib.sha256(subject.model_path.read_bytes()).hexdigest()}"
        if not folder.is_dir():
            partial_folder = Path(tempfile.mkdtemp(dir=root))
            if (entry := self._entry(subject)) is None:
                self.convert(subject, partial_folder)
            else:
                link_verified(subject.model_path.parent, entry, subject.model_path, partial_folder)
            partial_folder.rename(folder)
        return _Apart(self.form, folder)

    def _entry(self, subject: Subject) -> dict[str, Any] | None:
        return entry_of(subject.model_path.parent, target_of(self.name))

    def add(self, subject: Subject) -> str:
        """Put the form beside the model and into its `engine.json`; what was made, in one sentence.

        UserError for what the runtime does not take.
        """
        model, target, start = subject.model_path, target_of(self.name), time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="temport-converted-") as folder:
            self.convert(subject, Path(folder))
            seconds = time.perf_counter() - start
            entry = put(Path(folder), target, model, self.form.version(), seconds)
        enter(model.parent / REPORT_FILE, entry)
        return (
            f"{entry['file']}: {entry['bytes'] / 2**20:.1f} MiB in {seconds:.1f} s by {self.form.version()}"
        )

    def convert(self, subject: Subject, folder: Path) -> None:
        """Write form and signature into `folder`. UserError for what the runtime does not take."""
        with tempfile.TemporaryDirectory(prefix="temport-source-") as scratch:
            source = self._source(subject, Path(scratch), folder)
            Apart(_Apart(self.form, folder, source), opening=CONVERTING).open(subject).close()

    def _source(self, subject: Subject, scratch: Path, folder: Path) -> Path:
        """The file that the form is made of, in `scratch`: a program of torch, or an ONNX file."""
        if self.form.of_module and subject.module is not None and not subject.declaration.of_onnx:
            from temport.exporter.runtimes.aten_program import save_program

            path = scratch / PROGRAM
            save_program(subject.module, subject.declaration, path)
            Signature.of_declaration(subject.declaration).write(folder / SIGNATURE)
            return path
        if self.form.of_module and (missing := ONNX2FX.missing()) is not None:
            raise UserError(
                f"without a torch module {self.name} is made of the file by onnx2fx, and {missing}"
            )
        from temport.exporter.runtimes.plain_onnx import plain_onnx

        model, path = plain_onnx(subject.model_path), scratch / "model.onnx"
        onnx.save(model, path)
        Signature.of_model(model).write(folder / SIGNATURE)
        return path


class _Opened(Closing):
    """The other process's session, and the scratch folder that it runs from."""

    def __init__(
        self, inner: ApartSession, origin: str, scratch: tempfile.TemporaryDirectory[str] | None = None
    ) -> None:
        self._inner, self._scratch = inner, scratch
        self.path, self.version = origin, inner.version

    def run(self, inputs: Arrays) -> Arrays:
        return self._inner.run(inputs)

    def close(self) -> None:
        self._inner.close()
        if self._scratch is not None:
            self._scratch.cleanup()


class _Apart:
    """What the other process opens: the form in `folder`, or the conversion of `source` into it and nothing to run."""

    def __init__(self, form: Form, folder: Path, source: Path | None = None) -> None:
        self.name, self.capabilities = form.name, form.capabilities
        self.form, self.folder, self.source = form, folder, source

    def unavailable(self) -> str | None:
        return None

    def open(self, subject: Subject, threads: int = 1) -> Session:
        if self.form.environment is not None:
            self.form.environment.enter()
        _silence()
        signature = Signature.read(self.folder / SIGNATURE)
        if self.source is None:
            call = self.form.load(self.folder, signature, threads)
            files = tuple(path for path in self.folder.iterdir() if path.name != SIGNATURE)
            return _Running(self.form.version(), call, signature, files)
        try:
            self.form.convert(self._as_taken(self.source), self.folder)
        except UserError:
            raise
        except Exception as error:  # converters have no exception of their own for what they do not take
            raise UserError(f"{self.name} does not take this model: {first_line(error)}") from error
        return _Running(self.form.version(), lambda inputs: [], signature, ())

    def _as_taken(self, source: Path) -> Path:
        """The source as the form takes it; beside it, where that is another file."""
        if not self.form.of_module or source.name == PROGRAM:
            return source
        ONNX2FX.enter()
        from temport.exporter.runtimes.graph_program import save_graph_program

        path = source.with_name(PROGRAM)
        save_graph_program(source, path)
        return path


class _Running(Closing):
    path = ""

    def __init__(self, version: str, call: Call, signature: Signature, files: tuple[Path, ...]) -> None:
        self.version, self._call, self._signature, self.files = version, call, signature, files

    def run(self, inputs: Arrays) -> Arrays:
        return named(self._call(self._signature.arranged(inputs)), [t.name for t in self._signature.outputs])

    def prepared(self, inputs: Arrays) -> Prepared:
        return partial(self._call, self._signature.arranged(inputs))


def _silence() -> None:
    """Keep what libraries print in this process from the terminal of the one that started it."""
    sys.stdout.flush()
    quiet = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(quiet, descriptor)
