"""One thing to do of a fleet, and what became of it. Light: workers and stores import this, and no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

PASS, DISAGREES = "pass", "disagrees"
REFUSED, FAULT, TIMEOUT, KILLED, LOST = "refused", "fault", "timeout", "killed", "lost"
DONE = frozenset({PASS, DISAGREES})
"""Results that are kept: a job is a pure function of its key, and these are its values."""


@dataclass(frozen=True)
class Job:
    """An export, or the check of one in other runtimes.

    name      for people, one of a kind in its fleet
    key       sha256 of all that its result depends on (`temport.exporter.fleet.keys`)
    options   of the export by their names, as a `temport.toml` has them, paths absolute; of a check its `runtime`, and
              the seconds of its `scorecard` where it makes one
    bundle    key of the export that a check checks; empty: an export
    resource  that a worker has to have, such as "gpu"; empty: any worker
    versions  that the key was made with, of what the job runs on
    """

    name: str
    key: str
    options: Mapping[str, Any]
    bundle: str = ""
    resource: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Limits:
    """What one job may take: seconds, and bytes of memory of its own (None: what the machine has)."""

    seconds: float = 3600
    memory: int | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a job, as a record of the store holds it.

    result  one of the words above
    told    one sentence where it is not a pass
    worst   per runtime the worst share of its bound; None where it was not run or has no such number
    speeds  per runtime the p50 of a run in seconds, where a scorecard was made
    sizes   bytes of the bundle's files by name
    log     the end of what it printed, where it failed
    host    where it ran
    place   of its files in the store, below its key
    """

    key: str
    name: str
    result: str
    told: str = ""
    seconds: float = 0.0
    digest: str = ""
    worst: Mapping[str, float | None] = field(default_factory=dict)
    speeds: Mapping[str, float] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    log: str = ""
    host: str = ""
    place: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
