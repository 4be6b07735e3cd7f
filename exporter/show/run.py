"""`temport show`: what the file says, and what running it tells."""

from __future__ import annotations

from temport.exporter.bundle.directory import Bundle
from temport.exporter.show import measured
from temport.exporter.show.nodes import nodes_of, with_errors, with_times
from temport.exporter.show.text import Shown


def shown(bundle: Bundle, *, time: bool, runtime: str) -> Shown:
    """time     also time the nodes
    runtime  where errors are measured; empty: nowhere
    """
    nodes, memory = nodes_of(bundle)
    others = None
    inputs = measured.inputs_of(bundle) if time or runtime else {}
    if time:
        times, others = measured.times(bundle, inputs)
        nodes = with_times(nodes, times)
    if runtime:
        nodes = with_errors(nodes, measured.errors(bundle, inputs, runtime))
    name = bundle.path.resolve().name
    return Shown(name, bundle.digest, bundle.declaration, memory, tuple(nodes), others, runtime)
