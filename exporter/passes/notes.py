"""What a pass has to say to the reader of the report, above all where it gave something up."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field

import onnx_ir as ir

_Key = tuple[str, str, Hashable]
"""Pass, operator and reason."""


@dataclass
class Notes:
    """One sentence for each pass, operator and reason, with the number of its nodes; the first one is named.

    A pass takes one as its last, optional argument: `run(model, ..., notes)`. Iterating gives what was given up,
    `found` what was recognised.
    """

    _nodes: dict[_Key, list[str]] = field(default_factory=dict)
    _recognised: dict[_Key, list[str]] = field(default_factory=dict)

    def add(self, rewrite: str, node: ir.Node, why: Hashable, recognised: bool = False) -> None:
        """The pass `rewrite` met this node, and `why` is what follows: a sentence after the operator's name, as a text
        or as what `str` makes one of.

        recognised  it is no loss: the node became something better
        """
        kept = self._recognised if recognised else self._nodes
        names = kept.setdefault((rewrite, node.op_type, why), [])
        name = node.name or node.outputs[0].name or ""
        if name not in names:
            names.append(name)

    def __iter__(self) -> Iterator[str]:
        return _told(self._nodes)

    @property
    def found(self) -> tuple[str, ...]:
        """What passes recognised."""
        return tuple(_told(self._recognised))

    def reasons(self, rewrite: str) -> list[Hashable]:
        """Why the pass gave something up, each reason once and as it was added."""
        return list(dict.fromkeys(why for name, _, why in self._nodes if name == rewrite))

    def __len__(self) -> int:
        return len(self._nodes)


def _told(nodes: dict[_Key, list[str]]) -> Iterator[str]:
    for (rewrite, operator, why), (first, *others) in nodes.items():
        where = f"node {first}" + (f" and {len(others)} more" if others else "")
        yield f"{rewrite}: {operator} ({where}) {why}"
