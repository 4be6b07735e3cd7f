"""What `temport show` prints, and what its page is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from temport.exporter.declare.declaration import Axis, Declaration, TensorSpec
from temport.exporter.scorecard.figures import amount
from temport.exporter.show.nodes import Memory, Node


@dataclass(frozen=True)
class Shown:
    """All that is known of a bundle.

    others   microseconds of what ONNX Runtime runs beside the nodes of the file; None: nothing was timed
    runtime  where the errors were measured; empty: nowhere
    """

    name: str
    digest: str
    declaration: Declaration
    memory: Memory
    nodes: tuple[Node, ...]
    others: float | None = None
    runtime: str = ""


@dataclass(frozen=True)
class Group:
    """All nodes of one operator."""

    op: str
    nodes: tuple[Node, ...]

    def total(self, field: str) -> float | None:
        """None where it is not known of one of them; of times, of all."""
        known = [value for node in self.nodes if (value := getattr(node, field)) is not None]
        return sum(known) if known and (field == "microseconds" or len(known) == len(self.nodes)) else None

    @property
    def share(self) -> float | None:
        return max((node.share for node in self.nodes if node.share is not None), default=None)


def groups(nodes: Sequence[Node]) -> list[Group]:
    """By operator: the longest first where times are known, else those with the most work."""
    by_op: dict[str, list[Node]] = {}
    for node in nodes:
        by_op.setdefault(node.op, []).append(node)
    found = [Group(op, tuple(of)) for op, of in by_op.items()]
    return sorted(found, key=lambda g: (-(g.total("microseconds") or 0), -(g.total("flops") or 0), g.op))


def signature(spec: TensorSpec) -> str:
    """As `float32 [batch=1:8:64, 24]`."""
    return f"{spec.dtype} [{', '.join(map(_size, spec.shape))}]"


def _size(d: Axis | int) -> str:
    if isinstance(d, int):
        return str(d)
    return f"{d.name}={d.opt}" if d.static else f"{d.name}={d.min}:{d.opt}:{d.max}"


def mega(flops: float | None) -> str:
    """Millions; empty for none, `?` where nobody knows."""
    return "?" if flops is None else f"{flops / 1e6:.4g}" if flops else ""


def micro(microseconds: float | None) -> str:
    """Three digits, and all of a whole number; empty where nobody knows."""
    if microseconds is None:
        return ""
    return f"{microseconds:.3g}" if microseconds < 100 else f"{microseconds:.0f}"


COLUMNS: Mapping[str, Callable[[Group], str]] = {
    "nodes": lambda g: str(len(g.nodes)),
    "MFLOP": lambda g: mega(g.total("flops")),
    "weights": lambda g: amount(g.total("weights") or None),
    "read and written": lambda g: amount(g.total("moved")) or "?",
    "us": lambda g: micro(g.total("microseconds")),
    "error, %": lambda g: "" if g.share is None else f"{100 * g.share:.0f}",
}


def print_shown(shown: Shown, console: Console) -> None:
    console.print(Text(f"{shown.name}, {shown.declaration.numbers}, digest {shown.digest}"), soft_wrap=True)
    for side, specs in (("input", shown.declaration.inputs), ("output", shown.declaration.outputs)):
        for spec in specs:
            console.print(Text(f"  {side} {spec.name}: {signature(spec)}"), soft_wrap=True)
    console.print(Text(f"memory: {memory(shown.memory)}"), soft_wrap=True)
    grid = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    grid.add_column("operator", no_wrap=True)
    for heading in COLUMNS:
        grid.add_column(heading, justify="right", no_wrap=True)
    for group in groups(shown.nodes):
        grid.add_row(group.op, *(show(group) for show in COLUMNS.values()))
    console.print(grid)
    for line in notes(shown):
        console.print(Text(line, "dim"), soft_wrap=True)


def memory(of: Memory) -> str:
    state = f", state {amount(of.state)}" if of.state else ""
    between = "not known, since a size depends on the data" if of.tensors is None else amount(of.tensors)
    return f"weights {amount(of.weights)}{state}, tensors in between {between}"


def notes(shown: Shown) -> list[str]:
    """What the numbers mean, and which were not measured."""
    told = [
        "MFLOP of matrix products, recurrences and attention; bytes of weights, and of the other tensors that a node "
        "reads and writes; open axes at their optimum"
    ]
    if shown.others is None:
        told.append("no times: --time measures them in ONNX Runtime")
    else:
        own = sum(node.microseconds or 0 for node in shown.nodes)
        told.append(
            f"us: in ONNX Runtime under its profiler, one thread; {own:.0f} in nodes of the file and "
            f"{shown.others:.0f} in what it made of several, of a body, or for itself"
        )
    if shown.runtime:
        known = [(node.share, node) for node in shown.nodes if node.share is not None]
        share, worst = max(known, key=lambda pair: pair[0], default=(0.0, None))
        at = "" if worst is None else f"; most of all {worst.outputs[0]}, {100 * share:.0f} %"
        told.append(f"error: of the tensors in {shown.runtime}, in percent of what rounding explains{at}")
    return told
