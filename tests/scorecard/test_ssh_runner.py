"""`--runner ssh:HOST`, against an `ssh` and an `scp` on the PATH that work in a folder of this machine."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from temport.exporter.bundle.directory import open_bundle
from temport.exporter.errors import UserError
from temport.exporter.runtimes import cpp_runner, ssh
from temport.exporter.runtimes.runner import Found, replay
from temport.exporter.runtimes.ssh import processor, runners

SSH = """#!/bin/sh
while [ "${1#-}" != "$1" ]; do shift 2; done
[ "$1" = board ] || { echo "ssh: Could not resolve hostname $1" >&2; exit 255; }
shift
echo "$*" >> "$FAKE/commands"
[ -z "$FAKE_GREETING" ] || printf 'Welcome\\nto board\\n'
[ -z "$FAKE_LOST" ] || case "$*" in *replay*) echo "Connection to board closed." >&2; exit 255;; esac
PATH="$FAKE/bin:$PATH" TMPDIR="$FAKE/a home" exec sh -c "$*"
"""
SCP = """#!/bin/sh
while [ "${1#-}" != "$1" ]; do [ "$1" = -o ] && shift; shift; done
for last; do :; done
target=$(eval "echo ${last#*:}")
[ -z "$FAKE_FULL" ] || { echo "scp: write: No space left on device" >&2; exit 1; }
while [ $# -gt 1 ]; do cp -r "$1" "$target"; shift; done
"""
PROGRAM = """#!/bin/sh
[ "$TEMPORT_ONNXRUNTIME_LIBRARY" = "$PWD/libonnxruntime.so.1" ] || { echo "error: no library" >&2; exit 2; }
[ -f "$1/manifest.json" ] || { echo "error: no bundle" >&2; exit 2; }
[ -z "$FAKE_SLOW" ] || sleep 60
echo '{"runtimes": [{"name": "cpp", "verdict": "pass"}]}'
"""

SHELL = """#!/bin/sh
NAME="it's \\$(touch told) b\"
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the board keeps its files; `ssh` and `scp` are the fakes, `temport-run` is a script with a library, as
    builds leave it a link.
    """
    for folder in ("path", "bin", "a home", "program"):
        (tmp_path / folder).mkdir()
    for name, text in (("path/ssh", SSH), ("path/scp", SCP), ("program/temport-run", PROGRAM)):
        executable(tmp_path / name, text)
    (tmp_path / "program/real $(touch told)'s").write_bytes(b"library")
    (tmp_path / "program/libonnxruntime.so.1").symlink_to("real $(touch told)'s")
    monkeypatch.setenv("PATH", f"{tmp_path / 'path'}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE", str(tmp_path))
    return tmp_path / "a home"


def executable(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def program(home: Path) -> str:
    return str(home.parent / "program/temport-run")


def test_the_rows_come_back_and_nothing_stays(home: Path, window: Path) -> None:
    with runners([f"ssh:board={program(home)}"]) as (runner,):
        assert replay(runner, window) == [{"name": "cpp@board", "verdict": "pass"}]
        assert replay(runner, window), "the bundle is there already"
        (there,) = home.iterdir()
        assert sorted(path.name for path in there.iterdir()) == [
            "bundle-0",
            "environment",
            "libonnxruntime.so.1",
            "temport-run",
        ]
        assert open_bundle(there / "bundle-0").digest == open_bundle(window).digest
    assert list(home.iterdir()) == []


def test_names_are_no_words_of_a_shell(home: Path, window: Path, tmp_path: Path) -> None:
    """Of a program, of a library beside it, and of a bundle; the program is copied under the name that is started."""
    hostile = "it's $(touch told) b"
    bundle = Path(shutil.copytree(window, tmp_path / hostile))
    folder = home.parent / "program"
    library = (folder / "libonnxruntime.so.1").rename(folder / f"libonnxruntime.so.{hostile}")
    text = PROGRAM.replace("libonnxruntime.so.1", "libonnxruntime.so.$NAME").replace("#!/bin/sh", SHELL)
    executable(folder / hostile, text)
    with runners([f"ssh:board={folder / hostile}"]) as (runner,):
        assert replay(runner, bundle)
        (there,) = home.iterdir()
        names = {path.name for path in there.iterdir()}
        assert names == {"temport-run", "environment", "bundle-0", library.name}
    assert not [*home.parent.rglob("told"), *Path().glob("told")]


def test_a_program_is_found_on_the_path(home: Path, window: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{home.parent / 'program'}:{os.environ['PATH']}")
    with runners(["ssh:board=temport-run"]) as (runner,):
        assert replay(runner, window)


def test_without_a_program_it_is_the_one_of_the_row_cpp(
    home: Path, window: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpp_runner, "find", lambda: Found((program(home),)))
    library = home.parent / "program/libonnxruntime.so.1"
    monkeypatch.setattr(ssh, "onnxruntime_library", lambda: library)
    monkeypatch.setattr(ssh, "ops_library", lambda: None)
    with runners(["ssh:board"]) as (runner,):
        assert replay(runner, window)
    monkeypatch.setattr(cpp_runner, "find", lambda: Found(missing="temport-run was not built"))
    with pytest.raises(UserError, match="temport-run was not built"), runners(["ssh:board"]):
        pass


def other_processor(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    executable(home.parent / "bin/uname", "#!/bin/sh\necho aarch64\n")
    (home.parent / "program/temport-run").write_bytes(b"\x7fELF\x02\x01" + bytes(12) + b"\x3e\x00")


def little_room(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    executable(home.parent / "bin/df", "#!/bin/sh\necho Head\necho /dev/sda1 10 9 1 90% /\n")


@pytest.mark.parametrize(
    ("host", "spoil", "told"),
    [
        (
            "nowhere",
            lambda *_: None,
            "nowhere is not reached by ssh: ssh: Could not resolve hostname nowhere",
        ),
        ("board", other_processor, r"board is aarch64 and .*temport-run is for x86_64; name a runner for it"),
        ("board", little_room, r"board has 0.0 MiB of room in .*, and bundle takes 0.1; make room there"),
        (
            "board",
            lambda home, patch: patch.setenv("FAKE_FULL", "1"),
            "temport-run cannot be copied to board: scp: write: No space left on device",
        ),
        (
            "board",
            lambda home, patch: patch.setenv("FAKE_LOST", "1"),
            "board is not reached by ssh: Connection to board closed",
        ),
        (
            "board",
            lambda home, patch: patch.setenv("FAKE_GREETING", "1"),
            "the runner ssh:board printed no JSON",
        ),
        ("-oProxyCommand=x", lambda *_: None, "names no host"),
    ],
    ids=["not reached", "other processor", "no room", "full", "lost", "a greeting", "an option"],
)
def test_what_goes_wrong_is_one_sentence_and_leaves_nothing(
    home: Path,
    window: Path,
    host: str,
    spoil: Callable[[Path, pytest.MonkeyPatch], None],
    told: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spoil(home, monkeypatch)
    with pytest.raises(UserError, match=told), runners([f"ssh:{host}={program(home)}"]) as (runner,):
        replay(runner, window)
    assert list(home.iterdir()) == []


REPLAYED = """
import sys
from pathlib import Path
from temport.exporter.runtimes.runner import replay
from temport.exporter.runtimes.ssh import runners
with runners([sys.argv[1]]) as (runner,):
    replay(runner, Path(sys.argv[2]))
"""


def test_interrupted_it_leaves_nothing(home: Path, window: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_SLOW", "1")
    running = subprocess.Popen(
        [sys.executable, "-c", REPLAYED, f"ssh:board={program(home)}", window],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    commands = home.parent / "commands"
    while "--replay" not in (commands.read_text() if commands.exists() else ""):
        assert running.poll() is None
        time.sleep(0.05)
    os.killpg(running.pid, signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert running.returncode != 0 and "KeyboardInterrupt" in said
    assert list(home.iterdir()) == []


def test_a_program_says_what_it_is_made_for(tmp_path: Path) -> None:
    file = tmp_path / "program"
    for head, machine in (
        (b"\x3e\x00", "x86_64"),
        (b"\xb7\x00", "aarch64"),
        (b"\x99\x09", "ELF machine 2457"),
    ):
        file.write_bytes(b"\x7fELF\x02\x01" + bytes(12) + head)
        assert processor(file) == machine
    file.write_text(PROGRAM)
    assert processor(file) == ""
