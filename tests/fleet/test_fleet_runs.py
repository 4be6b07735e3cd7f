"""A fleet on this machine: every job once, bad ones contained, results in a store, one page over all."""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from tiny import poisoned, write
from typer.testing import CliRunner

from temport.exporter.bundle.directory import open_bundle
from temport.exporter.cli import app
from temport.exporter.errors import UserError
from temport.exporter.export import run_export
from temport.exporter.fleet.attempt import PRELOADED, carry_out
from temport.exporter.fleet.executors import Processes
from temport.exporter.fleet.index import changed, collect, page_of
from temport.exporter.fleet.job import DONE, Job, Limits, Outcome
from temport.exporter.fleet.plan import read_fleet
from temport.exporter.fleet.store import Store
from temport.exporter.request import ExportRequest

GIB = 1 << 30


def command(*words: str | Path) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["fleet", *map(str, words)])
    return done.exit_code, done.output


def test_every_job_is_done_once(tmp_path: Path) -> None:
    """What fails stops nothing, what is done stays done, and the page shows all of it."""
    check = '[[check]]\nruntime = ["onnxruntime_native"]\nscorecard = 0.02\nwhere = { seq = 8 }\n'
    path = write(tmp_path, f'[[matrix]]\narch = "mega"\nseq = [8, 0]\n{check}')
    code, text = command("run", path, "--jobs", 2)
    assert code == 1 and "3 jobs, 0 in the store, 3 to run" in text, text
    assert "refused mega-seq0" in text and "--seq '0' begins at 0" in text
    fleet = read_fleet(path)
    store = Store(fleet.store)
    assert store.done() == {job.key for job in fleet.jobs if "seq8" in job.name}
    code, text = command("run", path)
    assert code == 1 and "3 jobs, 2 in the store, 1 to run" in text
    assert [store.attempts(job.key) for job in fleet.jobs] == [1, 2, 1]
    code, text = command("status", path)
    assert code == 0 and text.count("pass  ") == 2 and text.count("refused  ") == 1

    out = tmp_path / "page"
    code, text = command("collect", path, "--out", out, "--bundles")
    assert code == 0
    rows = json.loads((out / "index.json").read_text())["rows"]
    assert [row["result"] for row in rows] == ["pass", "refused", "pass"]
    bundle = open_bundle(out / "bundles" / "mega-seq8", rows[0]["digest"], strict=True)
    assert rows[0]["model"] == (bundle.path / "model.onnx").stat().st_size
    assert rows[2]["digest"] == bundle.digest and set(rows[2]["worst"]) == {"onnxruntime_native"}
    assert set(rows[2]["speeds"]) == {"onnxruntime_native"} and rows[0]["speeds"] == {}
    assert "Scorecard of" in (out / "reports/mega-seq8-timed-any.html").read_text()
    assert "onnxruntime_native, p50" in (out / "index.html").read_text()
    assert all((out / "reports" / f"{name}.html").exists() for name in ("mega-seq8", "mega-seq8-timed-any"))

    settings = ("embed_dim=6", "hidden_size=8", "num_layers=1")
    request = ExportRequest(
        "mega", seq="8", settings=settings, runtimes=("onnxruntime_cpu",), out=tmp_path / "own"
    )
    run_export(request, Console(quiet=True))
    own, of_job = ((path / "model.onnx").read_bytes() for path in (tmp_path / "own", bundle.path))
    assert own == of_job, "what the server of the jobs has warmed up changes nothing"

    write(tmp_path, '[[matrix]]\narch = "mega"\nseq = 8\n')
    code, text = command("collect", path, "--out", out)
    assert "mega-seq0 is gone" in text and "mega is new: pass" in text


def test_poison_is_contained(tmp_path: Path) -> None:
    """A crash, a hang, one that takes 4 GiB and one that raises: each an outcome, and the good one passes."""
    fleet = read_fleet(poisoned(tmp_path, "crash", "hang", "eat", "raise_", "good"))
    (hang,) = (job for job in fleet.jobs if job.name == "hang")
    others = [job for job in fleet.jobs if job is not hang]
    found = {o.name: o for o in Processes(4).run(others, fleet.store, Limits(300, 3 * GIB))}
    found |= {o.name: o for o in Processes(1).run([hang], fleet.store, Limits(1))}
    assert {name: outcome.result for name, outcome in found.items()} == {
        "crash": "killed",
        "hang": "timeout",
        "eat": "refused",
        "raise-": "refused",
        "good": "pass",
    }
    assert "SIGSEGV" in found["crash"].told and "given up after 1 s" in found["hang"].told
    assert "MemoryError" in found["eat"].told and "cannot be made" in found["raise-"].told
    store = Store(fleet.store)
    assert len(store.done()) == 1 and len(store.failed()) == 4


def test_what_a_job_started_ends_with_it(tmp_path: Path) -> None:
    (job,) = read_fleet(poisoned(tmp_path, "leave")).jobs
    assert carry_out(job, str(tmp_path / "store"), Limits(300)).result == "pass"
    assert not running(int((tmp_path / "left").read_text()))


def test_a_job_ends_with_the_run_that_is_killed(tmp_path: Path) -> None:
    (job,) = read_fleet(poisoned(tmp_path, "hang")).jobs
    # a process that has imported torch, and whose jobs come of the same server as those of this one
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    run = context.Process(target=carry_out, args=(job, str(tmp_path / "store"), Limits(300)))
    run.start()
    began = tmp_path / "began"
    wait_for(began.exists)
    run.kill()
    run.join()
    wait_for(lambda: not running(int(began.read_text())))


def running(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] not in "ZX"


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.1)


def test_an_interrupted_run_goes_on(tmp_path: Path) -> None:
    path = poisoned(tmp_path, "good")
    path.write_text(path.read_text() + "seed = [0, 1, 2]\n")
    fleet = read_fleet(path)
    store = Store(fleet.store)
    run = Processes(1).run(fleet.jobs, fleet.store, Limits(300))
    first = next(run)
    run.close()  # as Ctrl-C unwinds it
    before = store.done()
    assert first.key in before and len(before) < 3
    left = [job for job in fleet.jobs if job.key not in before]
    assert {o.result for o in Processes(1).run(left, fleet.store, Limits(300))} == {"pass"}
    assert store.done() == {job.key for job in fleet.jobs}
    assert all(store.attempts(key) == 1 for key in before)


def test_other_versions_are_refused(tmp_path: Path) -> None:
    (job,) = read_fleet(poisoned(tmp_path, "good")).jobs
    other = replace(job, versions={**job.versions, "torch": "1.0"})
    done = carry_out(other, str(tmp_path / "store"), Limits(60))
    assert done.result == "refused" and "the plan was made with torch 1.0, and this worker has" in done.told


def result(key: str, **more: object) -> Outcome:
    return replace(Outcome(key, key, "pass", worst={"a": 0.5}, sizes={"model.onnx": 10}), **more)


@pytest.fixture
def store(place: str) -> Store:
    """An empty store."""
    return Store(place)


def test_a_store_keeps_results(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    (folder / "bundle" / "engine").mkdir(parents=True)
    (folder / "bundle" / "model.onnx").write_bytes(b"model")
    (folder / "bundle" / "engine" / "source.cc").write_bytes(b"source")
    assert store.done() == set() and store.outcome("aa") is None and store.attempts("aa") == 0
    store.note_start(Job("one", "aa", {}))
    store.note_start(Job("one", "aa", {}))
    store.keep(result("aa"), folder)
    store.keep(result("bb", result="timeout"), folder)
    assert (store.done(), store.failed(), store.attempts("aa")) == ({"aa"}, {"bb"}, 2)
    kept = store.outcome("aa")
    assert kept is not None and kept == result("aa", place=kept.place)
    assert store.outcomes(["aa", "cc"]) == [kept] and store.outcomes([]) == []
    assert [o.result for o in store.failures(["bb"])] == ["timeout"]
    store.fetch(kept, tmp_path / "back")
    assert (tmp_path / "back/bundle/engine/source.cc").read_bytes() == b"source"
    store.fetch_one(kept, "bundle/model.onnx", tmp_path / "model")
    assert (tmp_path / "model").read_bytes() == b"model"


def test_a_record_cut_short_is_none(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    (tmp_path / "files").mkdir()
    store.keep(result("aa"), tmp_path / "files")
    record = tmp_path / "store" / "records" / "aa.json"
    record.write_text(record.read_text()[:40])
    assert store.outcome("aa") is None


def files_of(folder: Path, text: str) -> Path:
    """A bundle with the digest `text`, as a job writes it."""
    (folder / "bundle").mkdir(parents=True)
    (folder / "bundle" / "manifest.sha256").write_text(f"{text}  manifest.json\n")
    (folder / "bundle" / "report.html").write_text(text)
    return folder


def test_two_workers_at_one_job_mix_no_files(tmp_path: Path) -> None:
    """Whichever record stands, its files are those of one attempt."""
    store = Store(str(tmp_path / "store"))
    store.keep(result("aa", digest="first"), files_of(tmp_path / "first", "first"))
    before = store.outcome("aa")
    store.keep(result("aa", digest="second"), files_of(tmp_path / "second", "second"))
    after = store.outcome("aa")
    assert before and after and (before.digest, after.digest) == ("first", "second")
    for done in (before, after):
        store.fetch(done, tmp_path / "back" / done.digest)
        texts = [p.read_text() for p in (tmp_path / "back" / done.digest / "bundle").iterdir()]
        assert len(texts) == 2 and all(text.startswith(done.digest) for text in texts)


def test_a_page_brings_the_bundle_that_it_shows(tmp_path: Path) -> None:
    """Another one of that name, of an earlier collection, goes."""
    store = Store(str(tmp_path / "a[b]c" / "store"))  # a pattern to fsspec's `cat`
    for key in ("aa", "bb"):
        store.keep(result(key, digest=key), files_of(tmp_path / key, key))
        collect([Job("one", key, {})], store, tmp_path / "page", bundles=True)
        assert (tmp_path / "page" / "bundles" / "one" / "report.html").read_text() == key
    assert [path.name for path in (tmp_path / "page" / "bundles").iterdir()] == ["one"]


@pytest.mark.parametrize("address", ["nowhere://x", "http://127.0.0.1:1/x"])
def test_a_store_that_cannot_be_opened_is_one_sentence(address: str) -> None:
    with pytest.raises(UserError, match=f"the store {address} cannot be opened"):
        Store(address)


def row(name: str, **more: object) -> dict[str, object]:
    plain = {"name": name, "result": "pass", "worst": {"a": 0.5}, "speeds": {}, "bytes": 1000, "host": "here"}
    return plain | more


def test_what_changed_is_told() -> None:
    assert changed([row("x")], [row("x", worst={"a": 0.51, "b": 0.2}, bytes=1001)]) == []
    slow = [row("x", speeds={"a": 2e-3})]
    assert changed([row("x", speeds={"a": 1e-3})], slow) == ["x: a took 1.00 ms before and takes 2.00 ms now"]
    assert changed([row("x", speeds={"a": 1e-3}, host="there")], slow) == changed([row("x")], slow) == []
    assert changed([row("x")], [row("x", result="to run", worst={}, bytes=0)]) == [
        "x: pass before, to run now"
    ]
    assert changed([row("x", worst={"a": 0.0})], [row("x")]) == ["x: a at 0% of its bound before, 50% now"]
    assert changed(
        [row("x"), row("y")], [row("x", result="disagrees", worst={"a": 2.0}, bytes=2000), row("z")]
    ) == [
        "y is gone",
        "x: pass before, disagrees now",
        "x: a at 50% of its bound before, 200% now",
        "x: 1000 bytes before, 2000 now",
        "z is new: pass",
    ]


def test_the_page_escapes() -> None:
    hostile = {**row("<script>x</script>"), "told": "<b>", "model": 1, "seconds": 1.0}
    page = page_of([hostile], ["<i>"])
    assert "<script>" not in page and "<b>" not in page and "<i>" not in page and "pass" in DONE
