"""The page over all reports of a fleet, and what changed since the last one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from temport.exporter.bundle.digest import DIGEST
from temport.exporter.errors import UserError
from temport.exporter.fleet.attempt import BUNDLE
from temport.exporter.fleet.job import DONE, Job, Outcome
from temport.exporter.fleet.store import Store
from temport.exporter.report.html import kind
from temport.exporter.report.pages import pages
from temport.exporter.scorecard.figures import amount, duration

TEMPLATE, PAGE, DATA = "index.html.jinja", "index.html", "index.json"
REPORTS, BUNDLES = "reports", "bundles"
NOTICED = 1.1
"""The factor by which a worst share or a size has to move to be told."""
QUICKER = 1.25
"""The same of times, on one host."""


def collect(jobs: Sequence[Job], store: Store, out: Path, *, bundles: bool = False) -> list[str]:
    """Write `index.html`, `index.json`, reports and, if asked, `bundles` into `out`; what changed, in sentences.

    What changed is told against the `index.json` that lies there.
    """
    outcomes = {o.key: o for o in store.failures(job.key for job in jobs)}
    outcomes |= {o.key: o for o in store.outcomes(job.key for job in jobs)}
    rows = [_row(job, outcomes.get(job.key)) for job in jobs]
    before = _before(out / DATA)
    changes = [] if before is None else changed(before, rows)
    (out / REPORTS).mkdir(parents=True, exist_ok=True)
    for job in jobs:
        outcome = outcomes.get(job.key)
        if outcome is None or outcome.result not in DONE:
            continue
        page = "scorecard.html" if "scorecard" in job.options else "report.html"
        page = page if job.bundle else f"{BUNDLE}/{page}"
        store.fetch_one(outcome, page, out / REPORTS / f"{job.name}.html")
        if bundles and not job.bundle:
            _bring(store, outcome, out / BUNDLES / job.name)
    (out / DATA).write_text(json.dumps({"rows": rows, "changes": changes}, indent=1) + "\n")
    (out / PAGE).write_text(page_of(rows, changes), encoding="utf-8")
    return changes


def _bring(store: Store, done: Outcome, target: Path) -> None:
    """The bundle of an export at `target`, in the place of another one that lies there."""
    beside = target / DIGEST
    if beside.is_file() and beside.read_text().startswith(done.digest):
        return
    partial = target.parent / f".{target.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    store.fetch(done, partial)
    if target.exists():
        shutil.rmtree(target)
    (partial / BUNDLE).rename(target)
    partial.rmdir()


def page_of(rows: Sequence[Mapping[str, Any]], changes: Sequence[str]) -> str:
    """The page; every string in it is escaped."""
    runtimes = list(dict.fromkeys(name for row in rows for name in row["worst"]))
    timed = list(dict.fromkeys(name for row in rows for name in row["speeds"]))
    counts: dict[str, int] = {}
    for row in rows:
        counts[row["result"]] = counts.get(row["result"], 0) + 1
    environment = pages(Path(__file__).parent)
    environment.filters |= {"kind": kind}
    return environment.get_template(TEMPLATE).render(
        rows=rows,
        runtimes=runtimes,
        timed=timed,
        duration=duration,
        amount=amount,
        changes=changes,
        counts=counts,
        done=DONE,
        reports=REPORTS,
    )


def changed(before: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is another one than before, in sentences, job by job."""
    old, new = ({row["name"]: row for row in rows} for rows in (before, now))
    told = [f"{name} is gone" for name in old if name not in new]
    for name, row in new.items():
        if name not in old:
            told.append(f"{name} is new: {row['result']}")
            continue
        was = old[name]
        if was["result"] != row["result"]:
            told.append(f"{name}: {was['result']} before, {row['result']} now")
        for runtime, share in row["worst"].items():
            if _moved(was["worst"].get(runtime), share):
                shares = f"{100 * was['worst'][runtime]:.3g}% of its bound before, {100 * share:.3g}% now"
                told.append(f"{name}: {runtime} at {shares}")
        for runtime, seconds in row["speeds"].items():
            before_it = was.get("speeds", {}).get(runtime)  # an index of before has none
            if was["host"] == row["host"] and _moved(before_it, seconds, QUICKER):
                told.append(
                    f"{name}: {runtime} took {duration(before_it)} before and takes {duration(seconds)} now"
                )
        if _moved(was["bytes"] or None, row["bytes"] or None):
            told.append(f"{name}: {was['bytes']} bytes before, {row['bytes']} now")
    return told


def _moved(before: float | None, now: float | None, factor: float = NOTICED) -> bool:
    if before is None or now is None:
        return False
    return max(before, now) > factor * min(before, now)


def _row(job: Job, outcome: Outcome | None) -> dict[str, Any]:
    found = outcome or Outcome(job.key, job.name, "to run")
    return {
        "name": job.name,
        "key": job.key,
        "result": found.result,
        "told": found.told,
        "worst": dict(found.worst),
        "speeds": dict(found.speeds),
        "model": found.sizes.get("model.onnx", 0),
        "bytes": sum(found.sizes.values()),
        "seconds": found.seconds,
        "digest": found.digest,
        "host": found.host,
    }


def _before(path: Path) -> list[dict[str, Any]] | None:
    if not path.exists():
        return None
    try:
        rows: list[dict[str, Any]] = json.loads(path.read_text())["rows"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is no index of a fleet; choose another --out") from error
    return rows
