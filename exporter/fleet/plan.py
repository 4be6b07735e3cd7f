"""`fleet.toml`: a matrix of exports, and checks of them elsewhere, as jobs.

store = "s3://bucket/fleet"          # or a directory, from the file's own

[common]                             # options of every export
batch = "dynamic"

[[matrix]]                           # an array is an axis; of an option that takes many values, an array of arrays
arch = ["mega", "hybrid"]
seq = [60, 256]
precision = ["fp32", "fp16"]
target = ["", "native"]              # an empty text leaves the option out

[[check]]                            # parity again, by workers that have something
runtime = ["native_engine"]
resource = "board"
scorecard = 2.0                      # and a scorecard, so many seconds for each runtime
where = { target = "native" }        # of the exports with these options
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from temport.exporter.asked import OPTIONS, SOURCES, options_in, read_toml
from temport.exporter.bundle.directory import versions
from temport.exporter.errors import UserError, did_you_mean
from temport.exporter.fleet.job import Job
from temport.exporter.fleet.keys import build_key, check_key
from temport.exporter.runtimes import chosen as chosen_rows

TEXT, TEXTS, TABLE = {"type": "string"}, {"type": "array", "items": {"type": "string"}}, {"type": "object"}
OWN = {"resource": TEXT, "depends": TEXTS}
"""Words of a matrix beside the options of an export: what its workers need, and further files that count."""
MATRIX = TABLE | {"properties": OWN}
SECONDS = {"type": "number", "exclusiveMinimum": 0, "maximum": 1e6}
CHECK = TABLE | {"properties": {"runtime": TEXTS, "resource": TEXT, "scorecard": SECONDS, "where": TABLE}}
PARTS = {
    "store": TEXT,
    "common": MATRIX,
    "matrix": {"type": "array", "items": MATRIX},
    "check": {"type": "array", "items": CHECK},
}
"""A fleet file as a JSON Schema; the options in it are `temport.exporter.asked`'s to judge."""
NOT_HERE = ("out", "keep-passes", "timing-cache")
"""Options that name what is written: several jobs would write it."""


@dataclass(frozen=True)
class Fleet:
    """What a `fleet.toml` says: exports first, then the checks of them."""

    store: str
    jobs: tuple[Job, ...]


def read_fleet(path: Path, store: str | None = None) -> Fleet:
    """The jobs of a file; UserError with what is wrong. `store` takes the place of the file's."""
    found = read_toml(path)
    _known(found, PARTS, path, "a fleet file")
    if error := next(Draft202012Validator({"properties": PARTS}).iter_errors(found), None):
        place = "/".join(map(str, error.absolute_path))
        raise UserError(f"{path}: at {place}, {error.message}; docs/fleet.md has the form of a fleet file")
    if not found.get("matrix"):
        raise UserError(f"{path} has no [[matrix]]; one names what is exported, such as arch = ['mega']")
    common, here = found.get("common", {}), versions()
    builds = _told_apart(
        [job for matrix in found["matrix"] for job in _builds(path, {**common, **matrix}, here)]
    )
    checks = [check for table in found.get("check", ()) for check in _checks(path, table, builds, here)]
    place = store or found.get("store") or "fleet-store"
    jobs = {job.key: job for job in (*builds, *checks)}  # what two matrices ask is done once
    return Fleet(
        place if "://" in place else str(path.parent.absolute() / place), _named(list(jobs.values()))
    )


def shard(jobs: Sequence[Job], text: str) -> list[Job]:
    """Part i of n of the jobs ("2/5"): by their keys, so that each stays where it was when others join. A check goes
    with its export.
    """
    first, slash, last = text.partition("/")
    if not (slash and first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last)):
        raise UserError(f"--shard {text!r} is not I/N with I from 1 to N, such as 2/5")
    return [job for job in jobs if int(job.bundle or job.key, 16) % int(last) == int(first) - 1]


def _known(found: Mapping[str, Any], known: Collection[str], path: Path, where: str) -> None:
    if wrong := next((name for name in found if name not in known), None):
        raise UserError(f"{path}: {wrong!r} is no part of {where}; {did_you_mean(wrong, known)}")


def _builds(path: Path, table: Mapping[str, Any], here: Mapping[str, str]) -> Iterator[Job]:
    """One job per combination of the axes of a matrix."""
    if wrong := next((name for name in NOT_HERE if name in table), None):
        raise UserError(f"{path}: {wrong} names a file to write, and a fleet has many; leave it out")
    axes = {name: _values(name, value) for name, value in table.items() if name not in OWN}
    depends = [path.parent / name for name in table.get("depends", ())]
    for values in itertools.product(*axes.values()):
        chosen = {name: value for name, value in zip(axes, values, strict=True) if value != ""}
        options = options_in(chosen, path)
        if sum(name in options for name in SOURCES) != 1:
            raise UserError(f"{path}: a matrix has one of {', '.join(SOURCES)}")
        chosen_rows(options.get("runtime", ()))
        moving = [name for name in axes if len(axes[name]) > 1 and name in options and name not in SOURCES]
        words = [_word(next(options[name] for name in SOURCES if name in options))]
        words += [f"{_short(name)}{_word(options[name])}" for name in moving]
        yield Job(
            "-".join(words),
            build_key(options, depends, here),
            options,
            resource=table.get("resource", ""),
            versions=here,
        )


def _checks(
    path: Path, table: Mapping[str, Any], builds: Sequence[Job], here: Mapping[str, str]
) -> Iterator[Job]:
    _known(table, CHECK["properties"], path, "a [[check]]")
    runtimes, resource = tuple(table.get("runtime", ())), table.get("resource", "")
    seconds = float(table.get("scorecard", 0))
    chosen_rows(runtimes)
    where = options_in(table.get("where", {}), path)
    checked = [b for b in builds if all(b.options.get(name) == value for name, value in where.items())]
    if not checked:
        raise UserError(f"{path}: a [[check]] is of no export: none of the {len(builds)} has all of {where}")
    for build in checked:
        yield Job(
            f"{build.name}-{'timed' if seconds else 'on'}-{resource or 'any'}",
            check_key(build.key, runtimes, resource, seconds),
            {"runtime": runtimes} | ({"scorecard": seconds} if seconds else {}),
            bundle=build.key,
            resource=resource,
            versions={"temport": here["temport"]},
        )


def _values(name: str, value: Any) -> list[Any]:
    """Along an axis; one value where it is none."""
    several = isinstance(value, list) and bool(value)
    if several and name in OPTIONS and OPTIONS[name].many:
        several = all(isinstance(one, list | dict) for one in value)
    return list(value) if several else [value]


def _word(value: Any) -> str:
    """A value as a part of a name."""
    if isinstance(value, tuple):
        return "+".join(map(_word, value)) or "none"
    if isinstance(value, Path):
        return value.stem
    text = Path(value).name if "/" in str(value) else str(value)
    text = text.removesuffix(".pt2").rpartition(".py:")[2]
    return "".join(c if c.isalnum() or c in "+=." else "-" for c in text)


def _short(name: str) -> str:
    """Before a value in a name: what would be a bare number without it."""
    return name if name in ("seq", "batch", "opset", "seed", "memory") else ""


def _told_apart(builds: Sequence[Job]) -> list[Job]:
    """Exports of one name with the options in which they differ, as two matrices may say them."""
    alike: dict[str, list[Job]] = {}
    for job in builds:
        alike.setdefault(job.name, []).append(job)
    named = []
    for job in builds:
        asked = [other.options for other in alike[job.name]]
        differ = [name for name in job.options if any(o.get(name) != job.options[name] for o in asked)]
        words = [f"{_short(name)}{_word(job.options[name])}" for name in differ if name not in SOURCES]
        named.append(replace(job, name="-".join((job.name, *words))))
    return named


def _named(jobs: list[Job]) -> tuple[Job, ...]:
    """Names made one of a kind by the keys, where they are not."""
    often = Counter(job.name for job in jobs)
    return tuple(replace(j, name=f"{j.name}-{j.key[:8]}") if often[j.name] > 1 else j for j in jobs)
