"""The architectures by name: those of this package and, asked for by name, those of other distributions."""

from __future__ import annotations

from importlib import import_module

from temport.graphs.architecture import Architecture
from temport.plugins import ARCHITECTURES as GROUP
from temport.plugins import Plugin, plugins

FILES = ("sliding_window", "hybrid", "mega", "lightning", "dms")
"""Files of this package with an `ARCHITECTURES` each. A new architecture is its file and its name here."""

ARCHITECTURES: dict[str, Architecture] = {
    architecture.name: architecture
    for file in FILES
    for architecture in import_module(f"temport.graphs.{file}").ARCHITECTURES
}
"""Those of this package."""


def offered() -> tuple[Plugin, ...]:
    """Those that other distributions bring, none of them loaded yet."""
    return plugins(GROUP, ARCHITECTURES)


def find(name: str) -> Architecture | None:
    """The architecture of that name, None where there is none. PluginError where another distribution's is broken."""
    if name in ARCHITECTURES:
        return ARCHITECTURES[name]
    plugin = next((plugin for plugin in offered() if plugin.name == name), None)
    return None if plugin is None else loaded(plugin)


def loaded(plugin: Plugin) -> Architecture:
    """The architecture of a plug-in. PluginError says what is wrong with it."""
    architecture = plugin.load()
    if not isinstance(architecture, Architecture):
        kind = type(architecture).__name__
        raise plugin.error(f"is of type {kind}; it has to be a temport.graphs.architecture.Architecture")
    if architecture.name != plugin.name:
        raise plugin.error(f"calls itself {architecture.name!r}; both names have to be the same")
    return architecture
