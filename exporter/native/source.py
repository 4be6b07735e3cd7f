"""The C++ source of an engine, from its plan."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import onnx_ir as ir

from temport.exporter.declare.declaration import Axis, Declaration, TensorSpec
from temport.exporter.native.memory import ALIGNMENT
from temport.exporter.native.plan import Plan
from temport.exporter.native.sizes import axis_code
from temport.exporter.native.tensors import TYPES

WORK_COMMENT = "temport work bytes: "
"""Before the number in an object's comments that only the compiler knows."""


def source(
    plan: Plan, declaration: Declaration, name: str, model_sha256: str, identity: bytes, version: str
) -> str:
    """One file: the run, the layouts of states, and the table that the C interface hands out.

    identity  of the model, as saved states bear it
    """
    axes = list(declaration.axes.values())
    before, after = {b for b, _ in declaration.states}, {a for _, a in declaration.states}
    states = [spec for spec in declaration.inputs if spec.name in before]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("model.cc.jinja").render(
        plan=plan,
        axis_code=axis_code,
        work_comment=WORK_COMMENT,
        isa=plan.isa,
        name=name,
        axes=axes,
        inputs=[
            _tensor(spec, axes) | {"index": index}
            for index, spec in enumerate(spec for spec in declaration.inputs if spec.name not in before)
        ],
        outputs=[_tensor(spec, axes) for spec in declaration.outputs if spec.name not in after],
        states=[
            _tensor(spec, axes) | {"place": state.place, "load": state.load, "store": state.store}
            for spec, state in zip(states, plan.states, strict=True)
        ],
        model_sha256=model_sha256,
        identity=list(identity),
        version=version,
        alignment=ALIGNMENT,
    )


def _tensor(spec: TensorSpec, axes: Sequence[Axis]) -> dict[str, Any]:
    numbers = {axis.name: number for number, axis in enumerate(axes)}
    kind = ir.DataType.from_numpy(np.dtype(spec.dtype))
    sizes = [axis_code(d.name) if isinstance(d, Axis) else f"int64_t{{{d}}}" for d in spec.shape]
    return {
        "name": spec.name,
        "dtype": spec.dtype,
        "type": TYPES[kind][0],
        "onnx_type": kind.value,
        "elements": " * ".join(sizes) or "1",
        "sizes": [f'"{d.name}"' if isinstance(d, Axis) and not d.static else "nullptr" for d in spec.shape],
        "batch": sizes[0] if sizes else "1",
        "row": " * ".join(sizes[1:]) or "1",
        "shape": [d.max if isinstance(d, Axis) else d for d in spec.shape],
        "axes": [numbers.get(d.name, -1) if isinstance(d, Axis) and not d.static else -1 for d in spec.shape],
    }
