"""`temport diff`: what a second bundle, report or scorecard has that the first has not, and whether that is worse."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from safetensors.torch import load as tensors_of

from temport.exporter.bundle.directory import Bundle, open_bundle
from temport.exporter.errors import UserError, did_you_mean
from temport.exporter.files import write_whole
from temport.exporter.parity.result import FAIL, ParityReport
from temport.exporter.parity.serial import read_json
from temport.exporter.report.aspects import (
    ASPECTS,
    GRAPH,
    PASSES,
    SIGNATURE,
    SIZE,
    SPEED,
    USUAL,
    VERDICTS,
    WEIGHTS,
    Difference,
    grown,
    verdicts,
)
from temport.exporter.report.html import Cell, figure, matrix
from temport.exporter.scorecard.card import Scorecard, read_card
from temport.exporter.scorecard.compare import card_differences
from temport.exporter.terminal import Terminal

FILE = "weights.safetensors"
Times = Callable[[Path, Path], tuple[float, float]]


@dataclass(frozen=True)
class Side:
    """One of the two: a report, and the bundle in which it lies where it was given as that."""

    report: ParityReport
    bundle: Bundle | None


def run_diff(
    before: Path,
    after: Path,
    fail_on: Sequence[str] | None = None,
    tolerance: float = 0.1,
    times: Times | None = None,
    out: Path | None = None,
    console: Console | None = None,
) -> bool:
    """Print what differs; whether nothing of it is worse in an aspect of `fail_on` (None: signature and verdicts).

    tolerance  what shares, sizes and times may grow before they are worse
    times      gives seconds of an inference in two bundles; None: nothing is timed
    out        a file for the differences as JSON
    """
    console = console or Terminal()
    wanted = USUAL if fail_on is None else tuple(fail_on)
    for aspect in wanted:
        if aspect not in ASPECTS:
            raise UserError(f"--fail-on {aspect!r} is no aspect; {did_you_mean(aspect, ASPECTS)}")
    if not tolerance >= 0:
        raise UserError(f"--tolerance {tolerance:g} is less than 0")
    cards = [_card(path) for path in (before, after)]
    if cards[0] is not None and cards[1] is not None:
        if times is not None:
            raise UserError("--speed runs two bundles; scorecards have their speeds")
        _held(wanted, (GRAPH, PASSES, WEIGHTS), "a scorecard does not hold it")
        found = list(card_differences(cards[0], cards[1], tolerance, speed=SPEED in wanted))
    elif cards != [None, None]:
        raise UserError("a scorecard is compared with another one, not with a bundle or a report")
    else:
        if times is None:
            _held(wanted, (SPEED,), "add --speed")
        sides = _side(before), _side(after)
        if any(side.bundle is None or side.bundle.file(FILE) is None for side in sides):
            _held(wanted, (WEIGHTS,), f"give two bundles that have {FILE}")
        found = list(differences(*sides, tolerance, times))
    for one in found:
        fails = one.worse and one.aspect in wanted
        console.print(f"{one.aspect}: {one.told}", style="red" if fails else None, soft_wrap=True)
    if not found:
        console.print("no difference")
    if out is not None:
        write_whole(out, json.dumps([asdict(one) for one in found], indent=1) + "\n")
    return not any(one.worse and one.aspect in wanted for one in found)


def differences(
    before: Side, after: Side, tolerance: float, times: Times | None = None
) -> Iterator[Difference]:
    """Aspect by aspect. What only a bundle holds is compared where both are bundles."""
    yield from _signature(before.report.declaration, after.report.declaration)
    if before.bundle is not None and after.bundle is not None:
        yield from _weights(before.bundle, after.bundle)
    yield from _graph(before.report, after.report)
    yield from _passes(before.report, after.report)
    yield from _verdicts(before.report, after.report, tolerance)
    sizes = before.report.model["bytes"], after.report.model["bytes"]
    yield from grown(SIZE, "bytes of the model", sizes, tolerance, lambda size: f"{size:.0f}")
    if times is None:
        return
    if before.bundle is None or after.bundle is None:
        raise UserError("--speed runs two bundles; a report alone cannot be run")
    seconds = times(before.bundle.path, after.bundle.path)
    yield from grown(
        SPEED, "an inference, fastest of many samples", seconds, tolerance, lambda s: f"{s * 1e6:.1f} us"
    )


def _held(wanted: Sequence[str], missing: Sequence[str], instead: str) -> None:
    """UserError where somebody goes by what is not there: that could not fail."""
    if aspect := next((aspect for aspect in wanted if aspect in missing), None):
        raise UserError(f"--fail-on {aspect} has nothing to go by; {instead}")


def _card(path: Path) -> Scorecard | None:
    """The scorecard in a file; None for a bundle, and for a file that is something else."""
    try:
        data = None if path.is_dir() else json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    return read_card(path) if isinstance(data, dict) and "rows" in data else None


def _side(path: Path) -> Side:
    if path.is_dir():
        bundle = open_bundle(path)
        return Side(read_json(path / "report.json"), bundle)
    return Side(read_json(path), None)


def _signature(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Difference]:
    """Inputs, outputs and states by name, and what the numbers are computed in."""
    for side in ("inputs", "outputs"):
        old, new = ({spec["name"]: spec for spec in d[side]} for d in (before, after))
        yield from (Difference(SIGNATURE, f"{side[:-1]} {name} is gone") for name in old if name not in new)
        yield from (Difference(SIGNATURE, f"{side[:-1]} {name} is new") for name in new if name not in old)
        for name in (name for name in old if name in new):
            was, now = _spec(old[name]), _spec(new[name])
            if was != now:
                yield Difference(SIGNATURE, f"{side[:-1]} {name}: {was} before, {now} now")
    for name in ("states", "precision", "ops", "opset"):
        if before.get(name) != after.get(name):
            yield Difference(SIGNATURE, f"{name}: {before.get(name)} before, {after.get(name)} now")


def _spec(spec: Mapping[str, Any]) -> str:
    values = f", {spec['values']}" if spec.get("values") else ""
    return f"{spec['dtype']} [{', '.join(map(_size, spec['shape']))}]{values}"


def _size(d: Any) -> str:
    """A size, or an axis as `--axis` spells it."""
    if isinstance(d, int):
        return str(d)
    return str(d["max"]) if d["min"] == d["max"] else f"{d['name']}={d['min']}:{d['opt']}:{d['max']}"


def _weights(before: Bundle, after: Bundle) -> Iterator[Difference]:
    if any(bundle.file(FILE) is None for bundle in (before, after)):
        return
    old, new = (tensors_of(bundle.read(FILE)) for bundle in (before, after))
    yield from (Difference(WEIGHTS, f"{name} is gone") for name in old if name not in new)
    yield from (Difference(WEIGHTS, f"{name} is new") for name in new if name not in old)
    moved = []
    for name in (name for name in old if name in new):
        one, other = old[name], new[name]
        if one.shape != other.shape or one.dtype != other.dtype:
            shapes = f"{one.dtype} {list(one.shape)} before, {other.dtype} {list(other.shape)} now"
            yield Difference(WEIGHTS, f"{name}: {shapes}")
        elif not torch.equal(one, other):
            apart = one != other  # where both are -inf their difference is no number
            moved.append((float((one.double() - other.double())[apart].abs().max()), name))
    if moved:
        most, name = max(moved)
        told = f"{len(moved)} of {len(old)} tensors have other numbers, most of all {name}: by {figure(most)}"
        yield Difference(WEIGHTS, told)


def _graph(before: ParityReport, after: ParityReport) -> Iterator[Difference]:
    old, new = (report.op_counts.get("exported", {}) for report in (before, after))
    for op in sorted(old.keys() | new.keys()):
        if old.get(op, 0) != new.get(op, 0):
            yield Difference(GRAPH, f"{op}: {old.get(op, 0)} nodes before, {new.get(op, 0)} now")
    work = [sum((report.flops.get("exported") or {}).values()) for report in (before, after)]
    if work[0] != work[1]:
        yield Difference(
            GRAPH, f"floating-point operations: {work[0]:.0f} before, {work[1]:.0f} now", work[1] > work[0]
        )


def _passes(before: ParityReport, after: ParityReport) -> Iterator[Difference]:
    old, new = ({row.name: row.changed for row in report.passes} for report in (before, after))
    words = {None: "was not run", False: "changed nothing", True: "changed the graph"}
    for name in dict.fromkeys((*old, *new)):
        was, now = words[old.get(name)], words[new.get(name)]
        if was != now:
            yield Difference(PASSES, f"{name} {was} before, {now} now")


def _verdicts(before: ParityReport, after: ParityReport, tolerance: float) -> Iterator[Difference]:
    yield from verdicts("parity", before.verdict, after.verdict, "")
    old, new = ({row.name: (row, cells) for row, cells in matrix(report)} for report in (before, after))
    yield from (Difference(VERDICTS, f"{name} has no row any more") for name in old if name not in new)
    for name, (row, cells) in new.items():
        if name not in old:
            yield Difference(VERDICTS, f"{name} is new: {row.verdict}", row.verdict == FAIL)
            continue
        was, earlier = old[name]
        yield from verdicts(name, was.verdict, row.verdict, row.reason)
        shares = _worst(earlier), _worst(cells)
        told = f"{name}, worst share of a bound"
        yield from grown(VERDICTS, told, shares, tolerance, lambda share: f"{100 * share:.3g}%")


def _worst(cells: Sequence[Cell]) -> float | None:
    return max((cell.share for cell in cells if cell.share is not None), default=None)
