"""How the runners end: output that is lost, files that are not theirs to touch, and models that never end."""

from __future__ import annotations

import os
import resource
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import javascript
import numpy as np
import onnx
import pytest
from small_bundles import rehash

from temport.exporter.runtimes import node
from temport.exporter.runtimes.libraries import runner_environment

Exported = Callable[[str], Path]
WHERE = ("cpp", "node")
LEAST = 100
"""Bytes that fit where a test lets no more be written: less than any output here."""


@pytest.fixture(params=WHERE)
def program(request: pytest.FixtureRequest) -> Iterator[tuple[str, ...]]:
    """The command of a runner."""
    if request.param == "cpp":
        yield (str(request.getfixturevalue("runner")),)
    else:
        javascript.install()
        yield ("node", str(node.JS / javascript.PROGRAMS["node"]))


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, ...]:
    """Options of one inference of the small mega, from x.npy to out/y.npy."""
    np.save(tmp_path / "x.npy", np.zeros((1, 12, 8), np.float32))
    (tmp_path / "out").mkdir()
    return ("--input", str(tmp_path / "x.npy"), "--output", str(tmp_path / "out" / "y.npy"))


def ended(
    command: tuple[str, ...], *words: str | Path, shell: str = "", limit: int | None = None
) -> tuple[int, str]:
    """Exit code and stderr; `shell` follows the command line, `limit` is the most that a file may hold."""
    line = [*command, *map(str, words)]

    def limited() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f'"$@" {shell}', "bash", *line],
        capture_output=True,
        text=True,
        check=False,
        env=runner_environment(),
        restore_signals=False,  # a file that is too long is a write that fails, not a signal
        preexec_fn=limited,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("shell", ["> /dev/full", "| true"])
def test_a_report_that_does_not_get_out_is_no_success(
    program: tuple[str, ...], exported: Exported, shell: str
) -> None:
    code, said = ended(program, exported("mega"), shell=shell)
    assert code == 74 and said.startswith("error: the output did not get out: ") and said.count("\n") == 1
    assert ended(program, "--help", shell="> /dev/full")[0] == 74


def test_a_file_that_is_not_written_whole_is_none(
    program: tuple[str, ...], exported: Exported, files: tuple[str, ...], tmp_path: Path
) -> None:
    y = tmp_path / "out" / "y.npy"
    y.write_bytes(b"before")
    code, said = ended(program, exported("mega"), *files, limit=LEAST)
    assert code == 74 and f"{y} could not be written completely" in said
    assert y.read_bytes() == b"before" and os.listdir(y.parent) == ["y.npy"]
    code, said = ended(program, exported("mega"), *files[:3], "/dev/full")
    assert code == 74 and "/dev/full could not be written completely" in said
    code, said = ended(program, exported("mega"), *files[:3], tmp_path / "nowhere" / "y.npy")
    assert code == 2 and "y.npy cannot be written" in said


def test_a_written_file_keeps_its_mode_and_leads_nowhere_else(
    program: tuple[str, ...], exported: Exported, files: tuple[str, ...], tmp_path: Path
) -> None:
    y, other = tmp_path / "out" / "y.npy", tmp_path / "other"
    other.write_bytes(b"other")
    (tmp_path / "out" / "y.npy.part").symlink_to(other)
    mask = os.umask(0o027)
    try:
        assert ended(program, exported("mega"), *files) == (0, "")
    finally:
        os.umask(mask)
    assert stat.S_IMODE(y.stat().st_mode) == 0o640
    y.chmod(0o600)
    assert ended(program, exported("mega"), *files) == (0, "")
    assert stat.S_IMODE(y.stat().st_mode) == 0o600 and np.load(y).shape == (1, 16)
    assert other.read_bytes() == b"other" and sorted(os.listdir(y.parent)) == ["y.npy", "y.npy.part"]
    y.unlink()
    for target in (other, tmp_path / "nothing"):
        y.unlink(missing_ok=True)
        y.symlink_to(target)
        code, said = ended(program, exported("mega"), *files)
        assert code == 2 and "is a symbolic link; name the file itself" in said
    assert other.read_bytes() == b"other" and not (tmp_path / "nothing").exists()


def make_endless(bundle: Path) -> None:
    """The output goes through a Loop that never ends."""
    model = onnx.load(bundle / "model.onnx")
    (last,) = [node for node in model.graph.node if "output" in node.output]
    last.output[list(last.output).index("output")] = "before"
    like = model.graph.output[0].type
    value, flag = (lambda name: onnx.ValueInfoProto(name=name, type=like)), onnx.TensorProto.BOOL
    body = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", [a], [b]) for a, b in (("going", "on"), ("value", "same"))],
        "body",
        [
            onnx.helper.make_tensor_value_info("i", onnx.TensorProto.INT64, []),
            onnx.helper.make_tensor_value_info("going", flag, []),
            value("value"),
        ],
        [onnx.helper.make_tensor_value_info("on", flag, []), value("same")],
    )
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(True), "always"))
    model.graph.node.append(onnx.helper.make_node("Loop", ["", "always", "before"], ["output"], body=body))
    onnx.save(model, bundle / "model.onnx")
    rehash(bundle)


def test_a_model_that_never_ends_has_a_deadline(
    program: tuple[str, ...], bundle: Path, files: tuple[str, ...], tmp_path: Path
) -> None:
    make_endless(bundle)
    before = time.monotonic()
    code, said = ended(program, bundle, *files, "--timeout", "1.5")
    assert (code, said) == (124, "error: temport-run did not end within 1.5 seconds\n")
    assert 1.5 <= time.monotonic() - before < 15 and os.listdir(tmp_path / "out") == []
    assert ended(program, "--help", "--timeout", "60")[0] == 0


def test_a_signal_ends_it_whatever_it_computes(
    program: tuple[str, ...], bundle: Path, files: tuple[str, ...], tmp_path: Path
) -> None:
    make_endless(bundle)
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL)
    running = [
        subprocess.Popen(
            [*program, str(bundle), *files], stderr=subprocess.PIPE, text=True, env=runner_environment()
        )
        for _ in numbers
    ]
    time.sleep(1.5)
    working = [child for one in running for child in children(one.pid)]
    for one, number in zip(running, numbers, strict=True):
        one.send_signal(number)
    ends = [(one.wait(10), one.stderr.read()) for one in running[:-1] if one.stderr is not None]
    assert ends == [(130, "error: interrupted\n")] * 3 and os.listdir(tmp_path / "out") == []
    running[-1].wait(10)
    until = time.monotonic() + 5
    while any(map(computes, working)) and time.monotonic() < until:
        time.sleep(0.1)
    assert not any(map(computes, working)), "a child outlives the program that was killed"


def children(process: int) -> list[int]:
    return list(map(int, Path(f"/proc/{process}/task/{process}/children").read_text().split()))


def computes(process: int) -> bool:
    """Whether it is there and no zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_deadline_leaves_those_alone_that_keep_it(
    program: tuple[str, ...], exported: Exported, files: tuple[str, ...], tmp_path: Path
) -> None:
    assert ended(program, exported("mega"), *files, "--timeout", "60") == (0, "")
    assert np.load(tmp_path / "out" / "y.npy").shape == (1, 16)
    code, said = ended(program, exported("mega") / "nothing", "--timeout", "60")
    assert code == 2 and said.count("\n") == 1
    for wrong in ("0", "-1", "soon", "1e9"):
        code, said = ended(program, exported("mega"), "--timeout", wrong)
        assert code == 2 and "number of seconds" in said
