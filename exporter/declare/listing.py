"""`temport list`: architectures and their typed options."""

from __future__ import annotations

from rich.table import Table

from temport.exporter.declare.architectures import architecture, options
from temport.exporter.terminal import Terminal
from temport.graphs.registry import ARCHITECTURES


def print_architectures() -> None:
    table = Table("architecture", "what it is", "frame by frame (--streaming)")
    for arch in ARCHITECTURES.values():
        table.add_row(arch.name, arch.summary, arch.streams)
    Terminal().print(table)


def print_options(name: str) -> None:
    arch = architecture(name)
    table = Table("option", "type", "default", "meaning", title=f"{arch.name}: {arch.summary}")
    for option in options(arch):
        table.add_row(option.name, option.type, option.default, option.help)
    Terminal().print(table)
    Terminal().print("Set one with --set option=value; repeat --set for several.")
