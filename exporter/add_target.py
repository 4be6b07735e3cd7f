"""What `--target` adds to a bundle: an engine, or the form that another runtime has of the model."""

from __future__ import annotations

from collections.abc import Sequence

from temport.exporter.compilers.contract import CompileOptions
from temport.exporter.compilers.engines import Added, add_engine
from temport.exporter.compilers.engines import check_target as check_engine
from temport.exporter.compilers.targets import FORMS, row_name
from temport.exporter.declare.declaration import Declaration
from temport.exporter.errors import UserError
from temport.exporter.native import engine
from temport.exporter.progress import Progress
from temport.exporter.runtimes import every, runtime_named
from temport.exporter.runtimes.contract import Runtime
from temport.exporter.runtimes.converted import Converted
from temport.exporter.runtimes.subject import Subject
from temport.exporter.streaming.half_rings import check_held


def check_target(target: str | None, options: CompileOptions) -> None:
    """Refuse what cannot be made here before the model is traced, which takes much longer."""
    if target not in FORMS:
        check_engine(target, options)
    else:
        options.check_known(target, frozenset())
        if (why := row_of(target).unavailable()) is not None:
            raise UserError(f"{target} cannot be made here: {why}")


def check_taken(target: str | None, declaration: Declaration) -> None:
    """UserError for a declaration that the form of `target` has no place for, such as one with open axes."""
    form = None if target is None else _form(target)
    if form is not None and (why := form.capabilities.refusal(declaration)) is not None:
        raise UserError(f"{target} does not take this model: {why}")


def add_target(
    target: str, options: CompileOptions, subject: Subject, name: str, progress: Progress
) -> Added:
    """Make what `target` is of the subject's model; it goes beside the model, as does its entry in `engine.json`.

    name  of the bundle
    """
    check_held(subject.declaration, target)
    form = _form(target)
    if form is None:
        directory = subject.model_path.parent
        return add_engine(target, options, directory, name, subject.declaration, progress)
    progress.step(f"converting for {target}")
    check_taken(target, subject.declaration)  # whose outputs are known now
    return Added(form.add(subject), ())


def row_of(target: str) -> Runtime:
    """The runtime that runs what the target makes."""
    return runtime_named(row_name(target))


def rows_with(target: str | None, rows: Sequence[Runtime] | None) -> list[Runtime] | None:
    """Those runtimes (None: those that run unless some are named), and that of the engine or form that is asked for."""
    if target is None:
        return None if rows is None else list(rows)
    others = every() if rows is None else list(rows)
    row = row_of(target)
    return others if row.name in [each.name for each in others] else [*others, row]


def replaces(target: str, name: str) -> bool:
    """Whether a file of a bundle was made for the target, and what is made anew takes its place."""
    own = f"{engine.FOLDER}/" if target == engine.TARGET else f"{target}."
    return name.startswith(own) and (target == engine.TARGET or target in FORMS)


def of_module(target: str) -> bool:
    """Whether it is made of the torch module, and not of the ONNX file."""
    form = _form(target)
    return form is not None and form.form.of_module


def _form(target: str) -> Converted | None:
    row = row_of(target) if target in FORMS else None
    return row if isinstance(row, Converted) else None
