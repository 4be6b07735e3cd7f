"""`temport list`: architectures with their typed options, and runtimes, those of other distributions too."""

from __future__ import annotations

from rich.table import Table

from temport.exporter import runtimes
from temport.exporter.declare.architectures import architecture
from temport.exporter.declare.options import options
from temport.exporter.runtimes.foreign import checked
from temport.exporter.terminal import Terminal
from temport.graphs import registry
from temport.plugins import PluginError, first_line

NOT_SAID = "temport export --streaming tells"


def print_all() -> None:
    """Every architecture and every runtime; below them, what is wrong with those of other distributions."""
    console, wrong = Terminal(), list[str]()
    console.print(_architectures(wrong))
    console.print(_runtimes(wrong))
    for sentence in wrong:
        console.print(sentence, style="red", soft_wrap=True)


def print_options(name: str) -> None:
    """The options of one architecture."""
    arch = architecture(name)
    table = Table("option", "type", "default", "meaning", title=f"{arch.name}: {arch.summary}")
    for option in options(arch):
        table.add_row(option.name, option.type, option.default, option.help)
    Terminal().print(table)
    Terminal().print("Set one with --set option=value; repeat --set for several.")


def _architectures(wrong: list[str]) -> Table:
    table = Table("architecture", "what it is", "frame by frame (--streaming)")
    for arch in registry.ARCHITECTURES.values():
        table.add_row(arch.name, arch.summary, arch.stream or NOT_SAID)
    for plugin in registry.offered():
        try:
            arch = registry.loaded(plugin)
            table.add_row(arch.name, f"{arch.summary} ({plugin.origin})", arch.stream or NOT_SAID)
        except PluginError as error:
            wrong.append(str(error))
        except Exception as error:
            wrong.append(str(plugin.error(f"has a small model that cannot be built: {first_line(error)}")))
    return table


def _runtimes(wrong: list[str]) -> Table:
    table = Table("runtime", "runs here")
    for name in (*runtimes.RUNTIMES, *runtimes.ON_REQUEST):
        table.add_row(name, runtimes.runtime_named(name).unavailable() or "yes")
    for plugin in runtimes.offered():
        try:
            table.add_row(f"{plugin.name} ({plugin.origin})", checked(plugin).unavailable() or "yes")
        except PluginError as error:
            wrong.append(str(error))
        except Exception as error:
            wrong.append(str(plugin.error(f"cannot say whether it runs here: {first_line(error)}")))
    return table
