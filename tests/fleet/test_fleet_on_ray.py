"""A fleet on a Ray cluster of several nodes on this machine: nodes that die, jobs that are poison, resources."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny import poisoned, write

from temport.exporter.fleet.executors import Ray
from temport.exporter.fleet.job import Limits
from temport.exporter.fleet.plan import read_fleet
from temport.exporter.fleet.store import Store

pytestmark = pytest.mark.thorough


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head without cores; the test adds the nodes. Its workers find `temport` where this process does."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2] / "deploy" / "python"))
    import ray
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": 1 << 27})
    yield made
    ray.shutdown()
    made.shutdown()


def node(cluster: Any, cores: int = 1, **resources: int) -> Any:
    return cluster.add_node(num_cpus=cores, resources=resources, object_store_memory=1 << 27)


def test_a_dead_nodes_jobs_are_done_elsewhere(place: str, cluster: Any, tmp_path: Path) -> None:
    """Nothing is lost and nothing done twice, in a directory and in an object store: only what ran on the dead node is
    begun again. The cluster begins after the store, which its nodes have to know.
    """
    fleet = read_fleet(write(tmp_path, f'[[matrix]]\narch = "mega"\nseq = {list(range(8, 16))}\n'), place)
    store = Store(fleet.store)
    node(cluster)
    doomed = node(cluster)

    def kill() -> None:
        """Once something is done and something else has begun."""
        while not store.done() or sum(store.attempts(job.key) for job in fleet.jobs) < len(store.done()) + 2:
            time.sleep(0.05)
        cluster.remove_node(doomed, allow_graceful=False)

    killer = threading.Thread(target=kill)
    killer.start()
    outcomes = list(Ray(cluster.address).run(fleet.jobs, fleet.store, Limits(300)))
    killer.join()
    assert sorted(o.key for o in outcomes) == sorted(job.key for job in fleet.jobs)
    assert {o.result for o in outcomes} == {"pass"}
    assert store.done() == {job.key for job in fleet.jobs} and store.failed() == set()
    attempts = [store.attempts(job.key) for job in fleet.jobs]
    assert sorted(attempts) == [1] * 7 + [2], "the dead node had one core, so one job"


def test_poison_stays_where_it_is(cluster: Any, tmp_path: Path) -> None:
    """Hang, crash and out of memory end their own processes, and the workers go on."""
    fleet = read_fleet(poisoned(tmp_path, "crash", "hang", "eat", "good"))
    node(cluster, 2)
    outcomes = {o.name: o for o in Ray(cluster.address).run(fleet.jobs, fleet.store, Limits(60, 3 << 30))}
    assert {name: o.result for name, o in outcomes.items()} == {
        "crash": "killed",
        "hang": "timeout",
        "eat": "refused",
        "good": "pass",
    }
    assert [Store(fleet.store).attempts(job.key) for job in fleet.jobs] == [1, 1, 1, 1]


def test_a_check_runs_where_its_resource_is(cluster: Any, tmp_path: Path) -> None:
    """It waits for its export, which needs none."""
    check = '[[check]]\nruntime = ["onnxruntime_cpu"]\nresource = "board"\n'
    fleet = read_fleet(write(tmp_path, f'[[matrix]]\narch = "mega"\nseq = 8\n{check}'))
    node(cluster)
    node(cluster, board=1)
    outcomes = list(Ray(cluster.address).run(fleet.jobs, fleet.store, Limits(300)))
    assert [(o.name, o.result) for o in outcomes] == [("mega", "pass"), ("mega-on-board", "pass")]
