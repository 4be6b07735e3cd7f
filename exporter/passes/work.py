"""One pass as data, and what it works on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import onnx_ir as ir

from temport.exporter.declare.declaration import DIALECTS, PRECISIONS, Declaration
from temport.exporter.graph.masks import BakedMask
from temport.exporter.passes.notes import Notes
from temport.exporter.passes.precision import PrecisionChange

ALL_DIALECTS = frozenset(DIALECTS)
ALL_PRECISIONS = frozenset(PRECISIONS.values())
FLOAT = "float32"
FLOAT32 = frozenset({FLOAT})


@dataclass
class Work:
    """A model on its way through the passes, and what they find out about it.

    masks  constants that the file must hold, with their predicates
    half   what the lowering of the precision did
    notes  what a pass gave up, for the report
    """

    model: ir.Model
    declaration: Declaration
    masks: list[BakedMask] = field(default_factory=list)
    half: PrecisionChange | None = None
    notes: Notes = field(default_factory=Notes)


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One rewriting of the graph.

    name        as `--without` and the report call it
    run         rewrites the model in place; whether it changed anything
    why         what it is good for, for the report
    dialects    where it runs
    precisions  where it runs
    after       passes that have to come before it, where those run
    new_weights whether it makes new numbers of weights: then it does not run where these are stored in few bits
    optional    whether a file is right without it; no other pass can be left out
    """

    name: str
    run: Callable[[Work], bool]
    why: str
    dialects: frozenset[str] = ALL_DIALECTS
    precisions: frozenset[str] = ALL_PRECISIONS
    after: tuple[str, ...] = ()
    new_weights: bool = False
    optional: bool = True

    def is_for(self, declaration: Declaration) -> bool:
        return (
            declaration.ops in self.dialects
            and declaration.precision in self.precisions
            and not (self.new_weights and compressed(declaration))
            and self.name not in declaration.without
        )


def compressed(declaration: Declaration) -> bool:
    return declaration.weights_dtype != FLOAT
