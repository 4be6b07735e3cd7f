"""`.. passes::`: the passes of an export as a table."""

from __future__ import annotations

from docstrings import inline, table
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from temport.exporter.passes.order import PASSES
from temport.exporter.passes.work import ALL_DIALECTS, ALL_PRECISIONS, Pass


class Passes(SphinxDirective):
    """Name, purpose, where it runs, and whether `--without` can leave it out."""

    def run(self) -> list[nodes.Node]:
        rows = [(f"``{p.name}``", inline(p.why), _where(p), "yes" if p.optional else "no") for p in PASSES]
        lines = table(rows, ("pass", "what for", "where", "may be left out"))
        return self.parse_text_to_nodes(StringList(lines, source="passes"))


def _where(step: Pass) -> str:
    dialects = [] if step.dialects == ALL_DIALECTS else sorted(f"--ops {d}" for d in step.dialects)
    precisions = [] if step.precisions == ALL_PRECISIONS else sorted(step.precisions)
    return ", ".join(f"``{word}``" for word in (*dialects, *precisions)) or "always"


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("passes", Passes)
    return {"parallel_read_safe": True}
