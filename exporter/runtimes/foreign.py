"""Runtimes of other distributions: what the contract asks of them, and what stands in the place of a broken one."""

from __future__ import annotations

from dataclasses import dataclass

from temport.exporter.errors import UserError
from temport.exporter.runtimes.contract import Capabilities, Runtime, Session
from temport.exporter.runtimes.subject import Subject
from temport.plugins import Plugin

NOTHING = Capabilities(
    custom_domain=False,
    functions=False,
    opsets=(0, 0),
    dtypes=frozenset(),
    dynamic_axes=False,
    intermediates=False,
)


def checked(plugin: Plugin) -> Runtime:
    """The runtime of a plug-in. PluginError says what is wrong with it."""
    runtime: Runtime = plugin.load()
    if getattr(runtime, "name", None) != plugin.name:
        raise plugin.error(f"calls itself {getattr(runtime, 'name', None)!r}; both names have to be the same")
    if not isinstance(getattr(runtime, "capabilities", None), Capabilities):
        raise plugin.error("has no capabilities: temport.exporter.runtimes.contract.Capabilities")
    for method in ("unavailable", "open"):
        if not callable(getattr(runtime, method, None)):
            raise plugin.error(f"has no method {method}; temport.exporter.runtimes.contract.Runtime has it")
    return runtime


@dataclass
class Unusable:
    """A row of the report for a plug-in that is no runtime."""

    name: str
    why: str
    capabilities: Capabilities = NOTHING

    def unavailable(self) -> str | None:
        return self.why

    def open(self, subject: Subject, threads: int = 1) -> Session:
        raise UserError(self.why)
