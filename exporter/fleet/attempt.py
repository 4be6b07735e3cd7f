"""One job in a process of its own: what it does there, and what becomes of it, hangs and crashes included.

The process is forked from a server that has imported torch once, so that a small job does not pay for that.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import signal
import socket
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from temport.exporter.errors import UserError
from temport.exporter.fleet.job import DISAGREES, FAULT, KILLED, PASS, REFUSED, TIMEOUT, Job, Limits, Outcome
from temport.exporter.fleet.store import Store
from temport.plugins import first_line

RESULTS = {0: PASS, 1: DISAGREES, 2: REFUSED, 70: FAULT}
"""By the exit code of the process, as the command has them."""
LOG, TOLD, FILES, BUNDLE = "log.txt", "told.json", "files", "bundle"
KEPT_OF_LOG = 4000
PRELOADED = ["temport.exporter.fleet.warm"]


def carry_out(job: Job, address: str, limits: Limits) -> Outcome:
    """Do a job unless the store has it, keep what came out there, and say what became of it. Raises nothing of the
    job's: whatever happens to its process is an outcome.
    """
    store = Store(address)
    if (known := store.outcome(job.key)) is not None:
        return known
    store.note_start(job)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="temport-fleet-", ignore_cleanup_errors=True) as name:
        scratch = Path(name)
        (scratch / FILES).mkdir()
        result, told = _run(job, store, scratch, limits)
        log = scratch / LOG
        done = Outcome(
            job.key,
            job.name,
            result,
            seconds=round(time.monotonic() - began, 2),
            host=socket.gethostname(),
            log="" if result == PASS or not log.exists() else log.read_text(errors="replace")[-KEPT_OF_LOG:],
            **told,
        )
        store.keep(done, scratch / FILES)
    return done


def _run(job: Job, store: Store, scratch: Path, limits: Limits) -> tuple[str, dict[str, Any]]:
    """The result, and what is told of it."""
    if job.bundle:
        if (built := store.outcome(job.bundle)) is None:
            return REFUSED, {"told": "the export that it checks is not in the store"}
        store.fetch(built, scratch / BUNDLE)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    process = context.Process(target=_inside, args=(job, scratch, limits.memory))
    process.start()
    process.join(limits.seconds)
    code = process.exitcode
    _kill(process)
    if code is None:
        return TIMEOUT, {"told": f"it was given up after {limits.seconds:g} s"}
    if code not in RESULTS:
        how = f"signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"exit code {code}"
        return KILLED, {"told": f"its process ended with {how}"}
    try:
        return RESULTS[code], json.loads((scratch / TOLD).read_text())
    except (OSError, ValueError) as error:
        return FAULT, {"told": f"its process left no result: {first_line(error)}"}


def _kill(process: Any) -> None:
    """A process and all that it started, which may outlive it."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        process.kill()  # it has no group of its own yet, or nothing is left of it
    process.join()


def _end_with_parent() -> None:
    """Kill this process and all that it started once whoever waits for it is gone; the server that forked it is not."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.killpg(0, signal.SIGKILL)


def end_all() -> None:
    """Kill what runs for this process."""
    for process in multiprocessing.active_children():
        _kill(process)


def _inside(job: Job, scratch: Path, memory: int | None) -> None:
    """The process of a job; its exit code is the result."""
    os.setsid()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if memory is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    log = os.open(scratch / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    told: dict[str, Any]
    try:
        code, told = (_check if job.bundle else _export)(job, scratch)
    except UserError as error:
        code, told = 2, {"told": str(error)}
    except BaseException as error:
        traceback.print_exc()
        code, told = 70, {"told": f"{type(error).__name__}: {first_line(error)}"}
    (scratch / TOLD).write_text(json.dumps(told))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # threads that a runtime left do not keep the process


def _export(job: Job, scratch: Path) -> tuple[int, dict[str, Any]]:
    import torch

    from temport.exporter.asked import fields_of
    from temport.exporter.bundle.directory import versions
    from temport.exporter.export import run_export
    from temport.exporter.request import ExportRequest
    from temport.exporter.terminal import Terminal

    _check_versions(job, versions())
    torch.set_num_threads(1)  # the same sums on a worker of any size
    out = scratch / FILES / BUNDLE
    exported = run_export(
        ExportRequest(**fields_of(dict(job.options) | {"out": out})), Terminal(file=sys.stdout)
    )
    sizes = {
        path.relative_to(out).as_posix(): path.stat().st_size for path in out.rglob("*") if path.is_file()
    }
    return int(not exported.passed), _of_report(exported.report) | {"digest": exported.digest, "sizes": sizes}


def _check(job: Job, scratch: Path) -> tuple[int, dict[str, Any]]:
    from temport.exporter.bundle.directory import open_bundle, versions
    from temport.exporter.parity.serial import read_json
    from temport.exporter.recheck import run_parity_of_bundle
    from temport.exporter.terminal import Terminal

    _check_versions(job, versions())
    bundle, out = scratch / BUNDLE / BUNDLE, scratch / FILES
    if "scorecard" in job.options:
        return _timed(job, bundle, out)
    passed = run_parity_of_bundle(bundle, job.options["runtime"], out=out, console=Terminal(file=sys.stdout))
    told = _of_report(read_json(out / "report.json"))
    return int(not passed), told | {"digest": open_bundle(bundle).digest}


def _timed(job: Job, bundle: Path, out: Path) -> tuple[int, dict[str, Any]]:
    """A check whose page is a scorecard."""
    from temport.exporter.bundle.directory import open_bundle
    from temport.exporter.progress import Progress
    from temport.exporter.scorecard.files import write
    from temport.exporter.scorecard.run import scorecard
    from temport.exporter.terminal import Terminal

    opened = open_bundle(bundle)
    with Progress(Terminal(file=sys.stdout)) as progress:
        card = scorecard(opened, job.options["runtime"], (), progress, seconds=job.options["scorecard"])
    write(card, out)
    return int(not card.passed), {
        "digest": card.digest,
        "told": "; ".join(card.reasons),
        "worst": {row.name: row.share for row in card.rows},
        "speeds": {row.name: row.speed.p50 for row in card.rows if row.speed is not None},
    }


def _check_versions(job: Job, here: dict[str, str]) -> None:
    """UserError where the key of a job was made with other versions than this worker has."""
    for name, version in job.versions.items():
        if here.get(name) != version:
            raise UserError(
                f"the plan was made with {name} {version}, and this worker has {here.get(name, 'none')}; install the "
                "same, or plan anew"
            )


def _of_report(report: Any) -> dict[str, Any]:
    worst = {}
    for row in report.runtimes:
        shares = [o.share for result in row.results for o in result.outputs.values() if o.share is not None]
        worst[row.name] = max(shares, default=None)
    return {"worst": worst, "told": "; ".join((*report.reasons, *report.unjudged))}
