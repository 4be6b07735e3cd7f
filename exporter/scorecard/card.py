"""What a scorecard holds, and its JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from temport.exporter.errors import UserError
from temport.exporter.parity.result import PASS

SCHEMA = Path(__file__).parent / "scorecard.schema.json"
FORMAT = 1
ENOUGH = 1000
"""Runs of which one in a thousand can be told."""
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.999, 1.0)


@dataclass(frozen=True)
class Speed:
    """Seconds of one run.

    quantiles  5, 25, 50, 75, 99.9 and 100 %; the 99.9 % of less than `ENOUGH` runs is no number and is the longest
    runs       how many were timed
    """

    quantiles: tuple[float, ...]
    runs: int

    @classmethod
    def of(cls, seconds: list[float]) -> Speed:
        found = [float(np.quantile(seconds, q, method="inverted_cdf")) for q in QUANTILES]
        if len(seconds) < ENOUGH:
            found[4] = found[5]
        return cls(tuple(found), len(seconds))

    @property
    def p50(self) -> float:
        return self.quantiles[2]

    @property
    def p99_9(self) -> float | None:
        """None where there were too few runs."""
        return self.quantiles[4] if self.runs >= ENOUGH else None

    @property
    def longest(self) -> float:
        return self.quantiles[5]


@dataclass(frozen=True)
class Row:
    """One runtime. Bytes and counts are None where nobody can say them.

    verdict      as in the parity report; `reason` why it was not run or failed
    share        the worst error of all cases as a share of its bound
    untimed      why there is no speed; empty where there is one
    load         seconds from the file to a session that can run, its library's own loading included
    libraries    bytes of the libraries that loading and running brought into the process, on disk
    model        bytes of what it loads of the model
    memory       bytes by which the process's memory was larger at its peak than before the runtime was loaded
    allocations  of one run, those of the call from Python among them
    machine      where it ran, if that is not the scorecard's
    """

    name: str
    verdict: str
    reason: str = ""
    version: str = ""
    path: str = ""
    share: float | None = None
    speed: Speed | None = None
    untimed: str = ""
    load: float | None = None
    libraries: int | None = None
    model: int | None = None
    memory: int | None = None
    allocations: float | None = None
    machine: str = ""


@dataclass(frozen=True)
class Scorecard:
    """Every runtime of one bundle, on one machine.

    of       `inference`, or `frame` of a step model
    numbers  element types in words, as `Declaration.numbers`
    inputs   of one run, by name, as `float32 [1, 60, 24]`
    state    bytes of the states of a step model
    verdict  of the parity report that the rows' verdicts are from, with its `reasons`
    time     when it was made, seconds since 1970
    """

    bundle: str
    digest: str
    of: str
    numbers: str
    inputs: Mapping[str, str]
    state: int
    verdict: str
    reasons: tuple[str, ...]
    machine: str
    versions: Mapping[str, str]
    time: float
    rows: tuple[Row, ...] = field(default_factory=tuple)
    format: int = FORMAT

    @property
    def run(self) -> str:
        """What is timed, as `one inference of frames float32 [1, 60, 24]`."""
        return f"one {self.of} of {', '.join(f'{name} {told}' for name, told in self.inputs.items())}"

    @property
    def passed(self) -> bool:
        return self.verdict == PASS


def to_json(card: Scorecard) -> dict[str, Any]:
    """Plain JSON values."""
    data: dict[str, Any] = json.loads(json.dumps(asdict(card), allow_nan=False))
    return data


def read_card(path: Path) -> Scorecard:
    """The scorecard in a file; UserError where it is none."""
    try:
        return of_json(json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as a scorecard: {error}") from error


def of_json(data: Any) -> Scorecard:
    """ValueError where it does not have the form of a scorecard."""
    from jsonschema import Draft202012Validator

    error = next(iter(Draft202012Validator(_schema()).iter_errors(data)), None)
    if error is not None:
        place = "/".join(map(str, error.absolute_path)) or "the top"
        raise ValueError(f"at {place}, {error.message[:200]}")
    rows = tuple(replace(Row(**row), speed=_speed(row["speed"])) for row in data["rows"])
    return Scorecard(**{**data, "rows": rows, "reasons": tuple(data["reasons"])})


def _speed(data: dict[str, Any] | None) -> Speed | None:
    return None if data is None else Speed(tuple(data["quantiles"]), data["runs"])


@cache
def _schema() -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(SCHEMA.read_text())
    return schema
