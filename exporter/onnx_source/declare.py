"""`--onnx FILE`: an ONNX file to a `Declaration` and the module behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx
from onnx import TensorProto

from temport.exporter.declare.call import Called
from temport.exporter.declare.declaration import ONNX, Declaration
from temport.exporter.declare.fitted import fitted
from temport.exporter.declare.modules import kept_outputs
from temport.exporter.declare.observe import output_specs
from temport.exporter.declare.same_twice import check_same_twice
from temport.exporter.declare.values import check_told
from temport.exporter.errors import UserError, told
from temport.exporter.onnx_source.module import OnnxModule
from temport.exporter.onnx_source.reading import opset_of, read_onnx
from temport.exporter.onnx_source.signature import NAME, Axes, expressions, read_inputs

OLDEST_OPSET, USUAL_OPSET = 18, 20
"""A graph below the first is brought to the second."""


def declare_onnx(
    path: Path,
    shapes: Sequence[str] = (),
    *,
    batch: str | None = None,
    seq: str | None = None,
    axes: Mapping[str, str] | None = None,
    opset: int | None = None,
    ops: str = "custom",
    seed: int = 0,
    names: Sequence[str] = (),
    dropped: Sequence[str] = (),
    external_data: bool = False,
) -> tuple[Declaration, Called]:
    """Declaration and module of a file.

    shapes         what else is known of its inputs: `ids:int64[0:200]=batch,seq`
    batch, seq     sizes of the axes that the file calls so; None: open
    axes           sizes of its other axes
    opset          of the export; None: the file's, where it is 18 or more
    names          what the outputs are called, in place of the file's names
    dropped        outputs that are left out
    external_data  read weights from files beside it
    """
    model, precision = read_onnx(path, external_data)
    known = Axes(batch, seq, axes or {})
    inputs = read_inputs(model, path, shapes, known)
    for spec in inputs:
        check_told(spec.name, spec.dtype, spec.values)
    called = _called(model, path, [spec.name for spec in inputs])
    given = [output.name for output in model.graph.output]
    taken = {spec.name for spec in inputs}
    called_so = [f"{name}_out" if name in taken else name for name in given]
    kept = kept_outputs(given, called_so, names, dropped)
    weights = {tensor.name for tensor in model.graph.initializer}
    if constant := next((name for name in kept if name in weights), None):
        raise UserError(
            f"output {constant} of {path} is a weight of it; leave it out with --drop-output {constant}"
        )
    if bad := next((name for name in kept.values() if not NAME.fullmatch(name)), None):
        raise UserError(f"output {bad!r} of {path} has a slash or a space in its name; give --output-names")
    called.returns = tuple(kept)
    told_axes = expressions(model, known)
    told_of_kept = {
        (list(kept).index(given[index]), place): text
        for (index, place), text in told_axes.items()
        if given[index] in kept
    }
    outputs = output_specs(called, inputs, list(kept.values()), ends=True)
    outputs = fitted(called, inputs, outputs, told_of_kept)
    notes = (*known.notes(), *check_same_twice(called, inputs))
    if precision != "float32":
        notes = (
            *notes,
            f"the file's weights are {precision}: it is exported from float32 and computes in {precision}",
        )
    return (
        Declaration(
            ONNX,
            {},
            inputs,
            outputs,
            opset=_opset(model, path, opset),
            ops=ops,
            precision=precision,
            seed=seed,
            module=str(path),
            returns=tuple(kept),
            notes=notes,
        ),
        called,
    )


def reopened(path: Path, declaration: Declaration) -> Called:
    """The module of a bundle that was made of this file, which the caller names."""
    model, _ = read_onnx(path, external_data=True)
    names = [value.name for value in model.graph.input]
    outputs = {value.name for value in model.graph.output}
    if names != [spec.name for spec in declaration.inputs] or not set(declaration.returns) <= outputs:
        raise UserError(f"{path} has other inputs or outputs than the file that the bundle was made of")
    called = _called(model, path, names)
    called.returns = declaration.returns
    return called


def _called(model: onnx.ModelProto, path: Path, names: Sequence[str]) -> Called:
    module = OnnxModule(model).eval()
    for kind in (TensorProto.FLOAT, TensorProto.DOUBLE):
        try:
            module.evaluator(kind)
        except Exception as error:  # the evaluator says in many ways what it does not know
            raise UserError(
                f"{path} cannot be evaluated by ONNX's own evaluator, so there is no oracle: {told(error)}"
            ) from error
    return Called(module, names)


def _opset(model: onnx.ModelProto, path: Path, asked: int | None) -> int:
    file = opset_of(model)
    if asked is not None and asked < file:
        raise UserError(
            f"{path} has opset {file}, and a graph is not brought down; give --opset {file} or leave it out"
        )
    usual = file if file >= OLDEST_OPSET else USUAL_OPSET
    return usual if asked is None else asked
