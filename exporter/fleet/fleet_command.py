"""The commands `temport fleet plan|run|status|collect`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from temport.exporter.errors import UserError

if TYPE_CHECKING:
    from temport.exporter.fleet.executors import Executor
    from temport.exporter.fleet.job import Job
    from temport.exporter.fleet.store import Store

fleet = typer.Typer(
    help="Many bundles: a matrix of exports and checks, each done once.", no_args_is_help=True
)
GIB = 1 << 30
File = Annotated[Path, typer.Argument(help="The fleet file; docs/fleet.md has its form.")]
Where = Annotated[
    str | None, typer.Option("--store", help="Directory or address (s3://...) instead of the file's.")
]


@fleet.command()
def plan(file: File, store: Where = None) -> None:
    """Say what a run would do, and do nothing."""
    jobs, place = _read(file, store)
    done = place.done()
    for job in jobs:
        needs = f", needs {job.resource}" if job.resource else ""
        typer.echo(f"{job.key[:12]}  {job.name}  {'done' if job.key in done else 'to run'}{needs}")
    typer.echo(f"{len(jobs)} jobs, {sum(job.key not in done for job in jobs)} to run, store {place.address}")


@fleet.command()
def run(
    file: File,
    store: Where = None,
    jobs: Annotated[int, typer.Option(help="Processes of this machine at once.")] = 1,
    shard: Annotated[str | None, typer.Option(help="Only part I of N of the jobs: 2/5.")] = None,
    ray: Annotated[
        str | None, typer.Option(help="Run on the Ray cluster at this address, such as auto or HOST:6379.")
    ] = None,
    timeout: Annotated[float, typer.Option(help="Seconds after which a job is given up.")] = 3600,
    memory_gib: Annotated[float | None, typer.Option(help="Memory that one job may take, GiB.")] = None,
) -> None:
    """Do the jobs that the store does not have; exit code 1 when one of them is no pass."""
    from temport.exporter.fleet.job import PASS, Limits
    from temport.exporter.fleet.plan import shard as part

    if jobs < 1 or timeout <= 0 or (memory_gib is not None and memory_gib <= 0):
        raise UserError("--jobs, --timeout and --memory-gib are more than zero")
    wanted, place = _read(file, store)
    chosen = wanted if shard is None else part(wanted, shard)
    done = place.done()
    left = [job for job in chosen if job.key not in done]
    typer.echo(f"{len(chosen)} jobs, {len(chosen) - len(left)} in the store, {len(left)} to run")
    limits = Limits(timeout, None if memory_gib is None else int(memory_gib * GIB))
    bad, began = 0, time.monotonic()
    for count, outcome in enumerate(_executor(jobs, ray).run(left, place.address, limits), 1):
        bad += outcome.result != PASS
        said = f": {outcome.told}" if outcome.told else ""
        typer.echo(f"[{count}/{len(left)}] {outcome.result} {outcome.name} ({outcome.seconds:.1f} s){said}")
    if left:
        wall = time.monotonic() - began
        typer.echo(f"{len(left)} jobs in {wall:.1f} s, {60 * len(left) / wall:.1f} a minute")
    known = place.outcomes(job.key for job in chosen if job.key in done)
    bad += sum(outcome.result != PASS for outcome in known)
    raise typer.Exit(1 if bad else 0)


@fleet.command()
def status(file: File, store: Where = None) -> None:
    """Say what is done, what failed and what was begun."""
    jobs, place = _read(file, store)
    outcomes = {o.key: o for o in place.failures(job.key for job in jobs)}
    outcomes |= {o.key: o for o in place.outcomes(job.key for job in jobs)}
    for job in jobs:
        found = outcomes.get(job.key)
        if found is not None:
            said = f": {found.told}" if found.told else ""
            typer.echo(f"{found.result}  {job.name}{said}")
        else:
            typer.echo(f"{'begun, not ended' if place.attempts(job.key) else 'to run'}  {job.name}")


@fleet.command()
def collect(
    file: File,
    out: Annotated[Path, typer.Option(help="Directory of the page.")],
    store: Where = None,
    bundles: Annotated[bool, typer.Option("--bundles", help="Also bring the bundles.")] = False,
) -> None:
    """Write one page over all reports, and say what changed since the one that lies there."""
    from temport.exporter.fleet.index import PAGE
    from temport.exporter.fleet.index import collect as write

    jobs, place = _read(file, store)
    for change in write(jobs, place, out, bundles=bundles):
        typer.echo(change)
    typer.echo(f"wrote {out / PAGE}")


def _read(file: Path, store: str | None) -> tuple[list[Job], Store]:
    from temport.exporter.fleet.plan import read_fleet
    from temport.exporter.fleet.store import Store

    found = read_fleet(file, store)
    return list(found.jobs), Store(found.store)


def _executor(jobs: int, ray: str | None) -> Executor:
    from temport.exporter.fleet.executors import Processes, Ray

    return Processes(jobs) if ray is None else Ray(ray)
