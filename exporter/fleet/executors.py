"""Where jobs run: processes of this machine, or the workers of a Ray cluster. One contract: jobs in, outcomes out as
they come, each job tried once here whatever happens to the others; what the store has is not run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any, Protocol

from temport.exporter.errors import UserError
from temport.exporter.fleet.attempt import carry_out, end_all
from temport.exporter.fleet.job import LOST, Job, Limits, Outcome
from temport.plugins import first_line

NODE_DEATHS = 3
"""How often a job is begun again after its node or its worker died."""
AT_A_TIME = 100


class Executor(Protocol):
    """A place for jobs."""

    def run(self, jobs: Sequence[Job], store: str, limits: Limits) -> Iterator[Outcome]:
        """Outcomes in the order in which they come. A check waits for its export where that is among the jobs."""
        ...


@dataclass(frozen=True)
class Processes:
    """As many processes of this machine at once; what a job says of resources is not asked here."""

    count: int

    def run(self, jobs: Sequence[Job], store: str, limits: Limits) -> Iterator[Outcome]:
        builds = [job for job in jobs if not job.bundle]
        checks = [job for job in jobs if job.bundle]
        with ThreadPoolExecutor(self.count) as pool:
            try:
                for phase in (builds, checks):
                    futures = [pool.submit(carry_out, job, store, limits) for job in phase]
                    for future in as_completed(futures):
                        yield future.result()
            except BaseException:  # Ctrl-C: what has begun is ended, and begins anew with the next run
                pool.shutdown(wait=False, cancel_futures=True)
                end_all()
                raise


@dataclass(frozen=True)
class Ray:
    """Workers of the cluster at `address`, one core for each job and one of the resource that it needs.

    Ray places the jobs and begins those of a dead node again. The store has to be one that all nodes reach.
    """

    address: str

    def run(self, jobs: Sequence[Job], store: str, limits: Limits) -> Iterator[Outcome]:
        ray = _ray()
        ray.init(address=self.address, log_to_driver=False, logging_level="error", ignore_reinit_error=True)
        task = ray.remote(_after)
        refs: dict[str, Any] = {}
        names = {}
        for job in sorted(jobs, key=lambda job: bool(job.bundle)):
            placed = task.options(name=job.name, num_cpus=1, max_retries=NODE_DEATHS, **_needs(job.resource))
            refs[job.key] = placed.remote(refs.get(job.bundle), job, store, limits)
            names[refs[job.key]] = job
        pending = list(names)
        while pending:
            done, pending = ray.wait(pending, num_returns=min(len(pending), AT_A_TIME), timeout=1)
            for ref in done:
                job = names.pop(ref)
                try:
                    yield ray.get(ref)
                except ray.exceptions.RayError as error:
                    yield Outcome(job.key, job.name, LOST, f"Ray gave it up: {first_line(error)}")


def _after(build: Outcome | None, job: Job, store: str, limits: Limits) -> Outcome:
    """`carry_out`, once Ray has the outcome of the export that the job checks."""
    return carry_out(job, store, limits)


def _needs(resource: str) -> dict[str, Any]:
    """What Ray calls a resource: it counts GPUs itself."""
    if not resource:
        return {}
    return {"num_gpus": 1} if resource == "GPU" else {"resources": {resource: 1}}


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise UserError("--ray needs the package ray; pip install 'temport[ray]'") from error
    return ray
