"""`.. onnx-op:: NAME`: an op of domain `temport` as its ONNX schema tells it."""

from __future__ import annotations

from docstrings import inline, table
from docutils import nodes
from docutils.statemachine import StringList
from onnx import defs
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from temport.custom_ops.table import OPS


class OnnxOp(SphinxDirective):
    """Definition, inputs, outputs and attributes; the section's title is the caller's."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        schema = OPS[self.arguments[0]].schema
        lines = [inline(" ".join(schema.doc.split())), ""]
        lines += table(
            [(f"``{p.name}``", "input", inline(_told(p))) for p in schema.inputs]
            + [(f"``{p.name}``", "output", inline(_told(p))) for p in schema.outputs]
            + [(f"``{a.name}``", "attribute", inline(_attribute(a))) for a in _sorted(schema)]
        )
        types = ", ".join(sorted(t[7:-1] for t in schema.type_constraints[0].allowed_type_strs))
        lines.append(f"Element types: {types}.")
        return self.parse_text_to_nodes(StringList(lines, source=schema.name))


def _told(parameter: defs.OpSchema.FormalParameter) -> str:
    optional = parameter.option == defs.OpSchema.FormalParameterOption.Optional
    return f"{'optional; ' if optional else ''}{parameter.description}"


def _sorted(schema: defs.OpSchema) -> list[defs.OpSchema.Attribute]:
    return sorted(schema.attributes.values(), key=lambda a: (not a.required, a.name))


def _attribute(attribute: defs.OpSchema.Attribute) -> str:
    kind = attribute.type.name.lower()
    default = attribute.default_value
    if attribute.required:
        return f"{kind}, required; {attribute.description}"
    if not default.name:  # the description says what stands in its place
        return f"{kind}; {attribute.description}"
    value = {"INT": default.i, "FLOAT": f"{default.f:.6g}", "STRING": default.s.decode()}[attribute.type.name]
    return f"{kind}, default {value}; {attribute.description}"


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("onnx-op", OnnxOp)
    return {"parallel_read_safe": True}
