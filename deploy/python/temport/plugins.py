"""What other installed distributions bring: architectures and runtimes, found by their entry points.

    [project.entry-points."temport.architectures"]
    my_model = "my_package.model:ARCHITECTURE"      # a temport.graphs.architecture.Architecture

    [project.entry-points."temport.runtimes"]
    my_runtime = "my_package.runtime:RUNTIME"       # a temport.exporter.runtimes.contract.Runtime

Names are found without importing anything of theirs. What is wrong with one distribution is a sentence that names it,
and no other one notices.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from importlib import metadata
from typing import Any

ARCHITECTURES = "temport.architectures"
RUNTIMES = "temport.runtimes"


class PluginError(Exception):
    """A plug-in that cannot be used: one sentence that names its distribution."""


@dataclass(frozen=True)
class Plugin:
    """One entry point.

    group    of which it is
    name     what the user types; empty where the entry points of a distribution cannot be read
    origin   the distribution with its version
    refusal  why it is not taken, a sentence, or None
    """

    group: str
    name: str
    origin: str
    entry: metadata.EntryPoint | None = None
    refusal: str | None = None

    def load(self) -> Any:
        """The object that it names. PluginError where it is refused or does not load, whatever it raises."""
        if self.refusal is not None or self.entry is None:
            raise PluginError(self.refusal)
        try:
            return self.entry.load()
        except (Exception, SystemExit) as error:
            raise self.error(f"does not load: {first_line(error)}") from error

    def error(self, what: str) -> PluginError:
        """`what` as a sentence that names the plug-in and its distribution."""
        kind = self.group.rpartition(".")[2].removesuffix("s")
        return PluginError(f"{kind} {self.name!r} of the installed distribution {self.origin} {what}")


def first_line(error: BaseException) -> str:
    """An exception in a few words: its first line, and those after it that it announces with a colon."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = lines[:1]
    while told and told[-1].endswith(":") and len(told) < min(len(lines), 4):
        told.append(lines[len(told)])
    return f"{type(error).__name__}: {' '.join(told)[:500]}" if told else type(error).__name__


def plugins(group: str, taken: Collection[str]) -> tuple[Plugin, ...]:
    """Every plug-in of a group by name. One that bears a name in `taken`, or one that two bear, is refused."""
    found = sorted(_found(group), key=lambda plugin: (plugin.name, plugin.origin))
    count = Counter(plugin.name for plugin in found)
    return tuple(_named_once(plugin, taken, count) for plugin in found)


def _named_once(plugin: Plugin, taken: Collection[str], count: Counter[str]) -> Plugin:
    if plugin.refusal is not None:
        return plugin
    if plugin.name in taken:
        refusal = f"is not taken: temport has a {plugin.name} of its own"
    elif count[plugin.name] > 1:
        refusal = f"is not taken: {count[plugin.name]} installed distributions give it that name"
    else:
        return plugin
    return replace(plugin, refusal=str(plugin.error(refusal)))


def _found(group: str) -> Iterator[Plugin]:
    installed = list(metadata.distributions())
    if not any(_may_offer(distribution, group) for distribution in installed):
        return  # as nearly always, and reading everybody's names takes a tenth of a second
    seen = set()
    for distribution in installed:
        name, origin = _name(distribution)
        if name in seen:  # the first on the path hides the others, as it does for imports
            continue
        if name is not None:
            seen.add(name)
        try:
            if group not in (distribution.read_text("entry_points.txt") or ""):
                continue
            entries = tuple(distribution.entry_points.select(group=group))
        except Exception as error:  # a file that is no list of entry points
            sentence = f"the entry points of the installed distribution {origin} cannot be read: {error}"
            yield Plugin(group, "", origin, refusal=sentence)
            continue
        for entry in entries:
            yield Plugin(group, entry.name, origin, entry)


def _may_offer(distribution: metadata.Distribution, group: str) -> bool:
    try:
        return group in (distribution.read_text("entry_points.txt") or "")
    except Exception:  # whoever reads them again says what is wrong
        return True


def _name(distribution: metadata.Distribution) -> tuple[str | None, str]:
    """What tells a distribution from others, None where its metadata are damaged, and what to call it."""
    try:
        name, version = distribution.metadata["Name"], distribution.metadata["Version"]
        return name.lower().replace("_", "-"), f"{name} {version}"
    except Exception:  # no metadata, or none with a name
        return None, f"at {getattr(distribution, '_path', 'an unknown place')}"
