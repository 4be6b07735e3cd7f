"""A bundle appears whole or not at all, and is read only when every byte matches its manifest."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import onnx
import pytest

from temport.exporter.bundle import staging
from temport.exporter.bundle.directory import open_bundle, write_manifest
from temport.exporter.bundle.metadata import signature
from temport.exporter.bundle.staging import staged
from temport.exporter.declare.declaration import Axis, Declaration, TensorSpec
from temport.exporter.errors import UserError


def minimal() -> Declaration:
    batch, seq = Axis("batch", 1, 1, 1), Axis("seq", 4, 4, 4)
    return Declaration(
        "mega",
        {},
        (TensorSpec("state_sequence", "float32", (batch, seq, 2)),),
        (TensorSpec("output", "float32", (batch, 2)),),
    )


def model(note: str) -> bytes:
    """A model that bears the signature of `minimal`, and a note that tells it from others."""
    made = onnx.ModelProto(ir_version=9, doc_string=note)
    onnx.helper.set_model_props(made, {"temport.signature": json.dumps(signature(minimal()))})
    return bytes(made.SerializeToString())


def make(out: Path, note: str = "model") -> Path:
    with staged(out) as work:
        (work / "model.onnx").write_bytes(model(note))
        write_manifest(work, minimal(), [], {})
    return out


def test_round_trip_and_replacement(tmp_path: Path) -> None:
    out = make(tmp_path / "b")
    assert open_bundle(out).model_path.read_bytes() == model("model")
    make(out, "newer")
    assert open_bundle(out).model_path.read_bytes() == model("newer")
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


def test_failure_leaves_nothing_and_keeps_the_old(tmp_path: Path) -> None:
    out = make(tmp_path / "b")
    with pytest.raises(RuntimeError), staged(out) as work:
        (work / "model.onnx").write_bytes(b"half")
        raise RuntimeError
    assert open_bundle(out).model_path.read_bytes() == model("model")
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


def test_refuses_to_replace_what_is_not_a_bundle(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    with pytest.raises(UserError, match="not a bundle"):
        make(tmp_path / "thesis")
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "years of work"


def test_unwritable_place(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="choose another --out"):
        make(tmp_path / "file" / "b")


def test_full_disk_is_one_sentence(tmp_path: Path) -> None:
    with (
        pytest.raises(UserError, match="No space left on device"),
        staged(tmp_path / "b"),
        open("/dev/full", "wb") as full,
    ):
        full.write(b"x")
    assert list(tmp_path.iterdir()) == []


def writing(out: Path) -> subprocess.Popen[bytes]:
    """A process that writes a bundle and does not get done."""
    script = textwrap.dedent(f"""
        import signal, time
        from pathlib import Path
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it is ignored
        from temport.exporter.bundle.staging import staged
        with staged(Path({str(out)!r})) as work:
            (work / "model.onnx").write_bytes(b"half")
            print("writing", flush=True)
            time.sleep(60)
    """)
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"writing\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda s: s.name)
def test_termination_leaves_nothing(number: signal.Signals, tmp_path: Path) -> None:
    process = writing(tmp_path / "b")
    process.send_signal(number)
    process.communicate(timeout=20)
    assert process.returncode != 0
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_export_left_is_cleared_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But not what a living one is writing, nor what is not ours."""
    killed, living = writing(tmp_path / "b"), writing(tmp_path / "b")
    killed.kill()
    killed.communicate(timeout=20)
    (tmp_path / ".b.notes").mkdir()
    assert len(list(tmp_path.glob(".b.*.partial"))) == 2
    monkeypatch.setattr(staging, "ABANDONED", 0)
    make(tmp_path / "b")
    assert len(list(tmp_path.glob(".b.*.partial"))) == 1
    living.terminate()
    living.communicate(timeout=20)
    assert {path.name for path in tmp_path.iterdir()} == {"b", ".b.notes"}


def test_of_many_exports_into_one_directory_one_stays_whole(tmp_path: Path) -> None:
    out = tmp_path / "b"
    notes = [str(i) * 1000 for i in range(64)]
    with ThreadPoolExecutor(8) as pool:
        for made in pool.map(lambda note: make(out, note), notes):
            assert made == out
    assert open_bundle(out).model_path.read_bytes() in map(model, notes)
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


def test_a_link_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="is a symbolic link; give the directory itself as --out"):
        make(tmp_path / "link")


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "symlink", "grow"])
def test_damaged_model_is_refused(tmp_path: Path, damage: str) -> None:
    out = make(tmp_path / "b")
    file, content = out / "model.onnx", model("model")
    if damage == "flip":
        file.write_bytes(model("modeL"))
    elif damage == "truncate":
        file.write_bytes(content[:-1])
    elif damage == "grow":
        file.write_bytes(content + b"!")
    elif damage == "remove":
        file.unlink()
    else:
        (tmp_path / "elsewhere").write_bytes(content)
        file.unlink()
        file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"model\.onnx"):
        open_bundle(out)


def test_the_digest_names_one_bundle(tmp_path: Path) -> None:
    one, two = make(tmp_path / "one"), make(tmp_path / "two", "other")
    digest = open_bundle(one).digest
    assert (one / "manifest.sha256").read_text() == f"{digest}  manifest.json\n"
    assert open_bundle(one, digest).digest == digest
    for wrong in (two, one):
        with pytest.raises(
            UserError, match="is another bundle" if wrong == two else "expected digest 'f00' is not"
        ):
            open_bundle(wrong, digest if wrong == two else "f00")
    (one / "manifest.sha256").unlink()  # as in bundles of before
    assert open_bundle(one, digest).digest == digest


def test_a_file_that_no_manifest_lists(tmp_path: Path) -> None:
    out = make(tmp_path / "b")
    open_bundle(out, strict=True)
    (out / "notes.txt").write_text("")
    open_bundle(out)
    with pytest.raises(UserError, match=r"notes\.txt is not listed in the manifest"):
        open_bundle(out, strict=True)
    (out / "notes.txt").unlink()
    (out / "notes").symlink_to(out)
    with pytest.raises(UserError, match="notes is not listed in the manifest"):
        open_bundle(out, strict=True)


def test_permission_denied_is_one_sentence(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        # root ignores permission bits; /proc refuses everyone
        target = Path("/proc/bundle")
    else:
        tmp_path.chmod(0o500)
        target = tmp_path / "b"
    started = time.monotonic()
    with pytest.raises(UserError, match="choose another --out"):
        make(target)
    assert time.monotonic() - started < 5
