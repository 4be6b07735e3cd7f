"""temport-run on bundles of other forms: half precision, and weights beside the model file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from small_bundles import rehash, write_bundle
from toolchain import run

from temport.custom_ops.library import library_path
from temport.exporter.bundle.directory import open_bundle, seal
from temport.exporter.errors import UserError
from temport.exporter.parity.gate import gate
from temport.exporter.parity.serial import runtime_row
from temport.exporter.runtimes.runner import LocalRunner, replay

DATA = "model.onnx.data"


@pytest.mark.parametrize("ops", ["none", "native"])
def test_float16_agrees_with_the_oracle(runner: Path, tmp_path: Path, ops: str) -> None:
    bundle = write_bundle(tmp_path / "bundle", "mega", precision="float16")
    chosen = "none" if ops == "none" else library_path()
    assert chosen is not None, "the native op library was not built"
    done = run(runner, bundle, "--replay", "--ops", chosen)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["runtimes"][0]["verdict"] == "pass"


def test_what_the_runtime_has_no_kernel_for_is_not_run(runner: Path, tmp_path: Path) -> None:
    """ONNX Runtime's CPU kernels do not multiply bfloat16 matrices: a row that says so, and no green."""
    bundle = write_bundle(tmp_path / "bundle", "mega", precision="bfloat16")
    done = run(runner, bundle, "--replay")
    assert done.returncode == 1
    row = runtime_row(replay(LocalRunner(runner), bundle)[0])
    assert (row.name, row.verdict, row.results) == ("cpp-x86_64", "not run", ())
    assert row.reason.startswith("ONNX Runtime: Could not find an implementation for")
    assert gate([row]) == ("fail", ("no runtime was run",))
    for words in ((), ("--bench",), ("--replay", "--bench")):
        asked = run(runner, bundle, *words)
        assert asked.returncode == 2 and asked.stderr.startswith(
            "error: ONNX Runtime: Could not find an impl"
        )


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("split") / "bundle", "mega", external_data=True)


@pytest.fixture
def own(split: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(split, tmp_path / "bundle"))


def test_weights_beside_the_model_are_found(runner: Path, split: Path, tmp_path: Path) -> None:
    assert (split / DATA).stat().st_size > 1000
    rows = replay(LocalRunner(runner), split)
    assert [row["verdict"] for row in rows] == ["pass"]
    # from another working directory, and through a link to the bundle as a whole
    (tmp_path / "link").symlink_to(split)
    assert run("env", "--chdir=/", runner, tmp_path / "link", "--replay").returncode == 0


@pytest.mark.parametrize("damage", ["flip", "cut", "link", "remove"])
def test_damaged_weights_are_refused(runner: Path, own: Path, damage: str) -> None:
    content = bytearray((own / DATA).read_bytes())
    content[len(content) // 2] ^= 1
    match damage:
        case "flip":
            (own / DATA).write_bytes(content)
        case "cut":
            (own / DATA).write_bytes(content[:-4])
        case "link":
            (own / DATA).rename(own.parent / DATA)
            (own / DATA).symlink_to(own.parent / DATA)
        case "remove":
            (own / DATA).unlink()
    done = run(runner, own, "--replay")
    assert done.returncode == 2 and done.stdout == "" and DATA in done.stderr
    with pytest.raises(UserError, match=DATA):
        open_bundle(own)


def test_wrong_weights_with_the_right_hash_fail_the_replay(runner: Path, own: Path) -> None:
    content = bytearray((own / DATA).read_bytes())
    content[: len(content) // 2] = bytes(len(content) // 2)
    (own / DATA).write_bytes(content)
    rehash(own)
    assert gate([runtime_row(row) for row in replay(LocalRunner(runner), own)])[0] == "fail"


def test_a_data_file_that_no_manifest_lists_is_not_read(runner: Path, own: Path) -> None:
    manifest = json.loads((own / "manifest.json").read_text())
    del manifest["files"][DATA]
    seal(own, manifest)
    for start in ("/", own):
        done = run("env", f"--chdir={start}", runner, own, "--replay")
        assert done.returncode == 2 and DATA in done.stderr
    with pytest.raises(
        UserError, match=f"it reads '{DATA}', which is no file of weights that the manifest lists"
    ):
        open_bundle(own)
