"""What a fleet file means: jobs, names, keys and shards."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny import poisoned, write

from temport.exporter.errors import UserError
from temport.exporter.fleet import keys, plan
from temport.exporter.fleet.plan import read_fleet, shard

MATRIX = '[[matrix]]\narch = ["mega", "hybrid"]\nseq = [8, 60]\nprecision = ["", "fp16"]\n'


def test_a_matrix_is_all_combinations(tmp_path: Path) -> None:
    check = '[[check]]\nruntime = ["onnxruntime_native"]\nresource = "board"\nwhere = { seq = 8 }\n'
    jobs = read_fleet(write(tmp_path, MATRIX + check)).jobs
    builds = [job for job in jobs if not job.bundle]
    assert [job.name for job in builds] == [
        "mega-seq8",
        "mega-seq8-fp16",
        "mega-seq60",
        "mega-seq60-fp16",
        "hybrid-seq8",
        "hybrid-seq8-fp16",
        "hybrid-seq60",
        "hybrid-seq60-fp16",
    ]
    assert builds[1].options["precision"] == "fp16" and "precision" not in builds[0].options
    assert builds[0].options["set"] == ("embed_dim=6", "hidden_size=8", "num_layers=1")
    checks = [job for job in jobs if job.bundle]
    assert {job.bundle for job in checks} == {job.key for job in builds if job.options["seq"] == "8"}
    assert {job.resource for job in checks} == {"board"} and len({job.key for job in jobs}) == len(jobs)


def test_an_array_of_arrays_is_an_axis_of_an_option_with_many_values(tmp_path: Path) -> None:
    text = '[[matrix]]\narch = "mega"\nset = [["num_layers=1"], { num_layers = 2, hidden_size = 8 }]\n'
    first, second = read_fleet(write(tmp_path, text)).jobs
    assert first.options["set"] == ("num_layers=1",)
    assert second.options["set"] == ("num_layers=2", "hidden_size=8")


def test_what_two_matrices_ask_is_done_once(tmp_path: Path) -> None:
    text = '[[matrix]]\narch = "mega"\nseq = [8, 9]\n[[matrix]]\narch = ["mega"]\nseq = [9, 10]\n'
    assert len(read_fleet(write(tmp_path, text)).jobs) == 3


def test_exports_that_one_matrix_would_not_confuse_are_told_apart(tmp_path: Path) -> None:
    """And their checks with them."""
    text = (
        '[[matrix]]\narch = "mega"\nseq = 8\n[[matrix]]\narch = "mega"\nseq = 8\ntarget = "native"\n'
        '[[matrix]]\narch = "mega"\nseq = 9\n[[check]]\nruntime = ["onnxruntime_cpu"]\n'
    )
    names = [job.name for job in read_fleet(write(tmp_path, text)).jobs]
    assert names[:3] == ["mega-seq8", "mega-seq8-native", "mega-seq9"]
    assert names[3:] == [f"{name}-on-any" for name in names[:3]]


def test_a_key_is_of_the_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = poisoned(tmp_path, "good")

    def key() -> str:
        (job,) = read_fleet(path).jobs
        return job.key

    first = key()
    assert key() == first
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (other,) = read_fleet(poisoned(elsewhere, "good")).jobs
    assert other.key == first, "the same files at another place are the same job"
    found = [first]
    (tmp_path / "poison.py").write_text((tmp_path / "poison.py").read_text() + "\n# changed\n")
    found.append(key())
    path.write_text(path.read_text() + "seed = 1\n")
    found.append(key())
    (tmp_path / "helper.py").write_text("SIZE = 3\n")
    path.write_text(path.read_text() + 'depends = ["helper.py"]\n')
    found.append(key())
    (tmp_path / "helper.py").write_text("SIZE = 4\n")
    found.append(key())
    monkeypatch.setattr(plan, "versions", lambda: {"temport": "another"})
    found.append(key())
    monkeypatch.setattr(keys, "_of_temport", lambda: "another")
    found.append(key())
    assert len(set(found)) == len(found)


def test_shards_are_a_partition_that_stays(tmp_path: Path) -> None:
    few = read_fleet(
        write(tmp_path, '[[matrix]]\narch = "mega"\nseq = [8, 9, 10, 11, 12, 13]\n[[check]]\n')
    ).jobs
    more = read_fleet(write(tmp_path, '[[matrix]]\narch = "mega"\nseq = [8, 9, 10, 11, 12, 13, 14]\n')).jobs
    parts = [shard(few, f"{i}/3") for i in (1, 2, 3)]
    assert sorted(job.key for part in parts for job in part) == sorted(job.key for job in few)
    for i, part in enumerate(parts, 1):
        keys_there = {job.key for job in part}
        assert {job.bundle for job in part if job.bundle} <= keys_there
        assert {job.key for job in part if not job.bundle} <= {job.key for job in shard(more, f"{i}/3")}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "has no"),
        ("[[matrix]]\nseq = 8\n", "a matrix has one of arch, module, onnx"),
        ('[[matrix]]\narch = "mega"\nsequence = 8\n', "'sequence' is no option of an export; known"),
        ('[[matrix]]\narch = "mega"\nout = "x"\n', "out names a file to write, and a fleet has many"),
        ('[[matrix]]\narch = "mega"\nweights = "none.safetensors"\n', "none.safetensors cannot be read"),
        ('[[matrix]]\narch = "mega"\nruntime = "onnx"\n', "unknown runtime 'onnx'"),
        ('[[matrix]]\narch = "mega"\n[[check]]\nwith = "x"\n', "'with' is no part of a"),
        ("[[matrix", "is not TOML"),
        ("matrix = 3\n", "at matrix, 3 is not of type 'array'"),
        ('[[matrix]]\narch = "mega"\nresource = 5\n', "at matrix/0/resource, 5 is not of type 'string'"),
        ('[[matrix]]\narch = "mega"\n[[check]]\nruntime = "x"\n', "at check/0/runtime, 'x' is not of type"),
        ('[[matrix]]\narch = "mega"\n[[check]]\nscorecard = 0\n', "at check/0/scorecard, 0 is less than"),
        ('[[matrix]]\narch = "mega"\n[[check]]\nwhere = { seq = 9 }\n', "is of no export: none of the 1 has"),
    ],
)
def test_a_wrong_file_is_one_sentence(text: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=told):
        read_fleet(write(tmp_path, text, common=""))


@pytest.mark.parametrize("text", ["3", "0/2", "3/2", "a/b", "1/2/3"])
def test_a_wrong_shard_is_one_sentence(text: str) -> None:
    with pytest.raises(UserError, match="is not I/N"):
        shard([], text)
