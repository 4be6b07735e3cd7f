"""How many small jobs a fleet does in a minute, beside one process that does the same exports one after the other."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console

from temport.exporter.asked import fields_of
from temport.exporter.errors import UserError
from temport.exporter.export import run_export
from temport.exporter.fleet.executors import Executor, Processes, Ray
from temport.exporter.fleet.job import PASS, Job, Limits
from temport.exporter.fleet.plan import read_fleet
from temport.exporter.fleet.store import Store
from temport.exporter.machine import description
from temport.exporter.quiet import quiet
from temport.exporter.request import ExportRequest

MODULE = """
from torch import nn


def make():
    return nn.Sequential(nn.Linear(4, 3), nn.Tanh())
"""
MATRIX = """
[[matrix]]
module = "tiny.py:make"
shape = ["x=batch,4"]
runtime = "onnxruntime_cpu"
seed = [{seeds}]
"""
SECONDS = 600.0


@dataclass(frozen=True)
class Rate:
    """So many jobs in so many seconds."""

    name: str
    jobs: int
    seconds: float

    @property
    def a_minute(self) -> float:
        return 60 * self.jobs / self.seconds


@dataclass(frozen=True)
class FleetReport:
    """planning  seconds in which the keys of all jobs were made, and in which a run finds that nothing is left to do"""

    machine: str
    rates: tuple[Rate, ...]
    planning: float
    nothing_left: float

    def to_json(self) -> dict[str, object]:
        return asdict(self) | {"a_minute": {rate.name: rate.a_minute for rate in self.rates}}


def run(
    jobs: int, alone: int, processes: int, ray: str | None, store: str | None, progress: Callable[[str], None]
) -> FleetReport:
    """jobs       of one small module each, which differ by their seed
    alone      how many of them one process does
    processes  of this machine at once
    ray        address of a cluster that does them too
    store      an address that all workers reach; None: a folder that is removed

    UserError where a job is no pass.
    """
    with tempfile.TemporaryDirectory(prefix="temport-bench-fleet-") as name:
        folder = Path(name)
        (folder / "tiny.py").write_text(MODULE)
        file = folder / "fleet.toml"
        file.write_text(MATRIX.format(seeds=", ".join(map(str, range(jobs)))))
        began = time.perf_counter()
        made = read_fleet(file).jobs
        planning = time.perf_counter() - began
        progress(f"{alone} jobs in one process")
        rates = [_in_this_process(made[:alone], folder)]
        executors: dict[str, Executor] = {f"fleet, {processes} processes": Processes(processes)}
        if ray is not None:
            executors[f"fleet, Ray at {ray}"] = Ray(ray)
        for number, (title, executor) in enumerate(executors.items()):
            progress(f"{jobs} jobs, {title}")
            place = f"{store or folder}/store-{number}"
            rates.append(_by(executor, title, made, place))
        began = time.perf_counter()
        if left := [job for job in made if job.key not in Store(place).done()]:
            raise UserError(f"{len(left)} jobs are not in the store after they were done")
        return FleetReport(description(), tuple(rates), planning, time.perf_counter() - began)


def _in_this_process(jobs: tuple[Job, ...], folder: Path) -> Rate:
    """As a loop in Python would: torch is imported, nothing is contained and nothing is stored."""
    silent = Console(quiet=True)
    with quiet():
        run_export(_request(jobs[0], folder / "warm"), silent)
        began = time.perf_counter()
        for number, job in enumerate(jobs):
            run_export(_request(job, folder / f"alone-{number}"), silent)
    return Rate("one process, a loop", len(jobs), time.perf_counter() - began)


def _request(job: Job, out: Path) -> ExportRequest:
    return ExportRequest(**fields_of(dict(job.options) | {"out": out}))


def _by(executor: Executor, title: str, jobs: tuple[Job, ...], place: str) -> Rate:
    began = time.perf_counter()
    for outcome in executor.run(jobs, place, Limits(SECONDS)):
        if outcome.result != PASS:
            raise UserError(f"{outcome.name} was no pass but {outcome.result}: {outcome.told}")
    return Rate(title, len(jobs), time.perf_counter() - began)
