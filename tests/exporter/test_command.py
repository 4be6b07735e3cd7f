"""Exit codes and sentences: 1 means that a runtime disagrees, and nothing else does."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from rich.text import Text
from typer.testing import CliRunner

from temport.exporter import cli
from temport.exporter.cli import app
from temport.exporter.command import Guarded
from temport.exporter.errors import UserError
from temport.exporter.logs import LOG, listen
from temport.exporter.progress import Progress
from temport.exporter.terminal import Terminal, printable

COMMAND = [sys.executable, "-m", "temport"]
ESCAPE = "\x1b[31mred\x1b]0;title\x07\u202egnp"


def outcome(error: BaseException, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """What the command group makes of an exception in a command."""
    app = typer.Typer(cls=Guarded)

    @app.command()
    def fails() -> None:
        raise error

    @app.command()
    def other() -> None:
        """A group has two."""

    with pytest.raises(SystemExit) as ending:
        app(["fails"])
    return int(ending.value.code or 0), capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (UserError("give another"), 2, "error: give another\n"),
        (UserError(f"no {ESCAPE}"), 2, r"error: no \x1b[31mred\x1b]0;title\x07\u202egnp" + "\n"),
        (FileNotFoundError(2, "No such file", "x.npz"), 2, "error: x.npz: No such file\n"),
        (
            KeyError("sha256"),
            70,
            "error: this is a fault of temport, please report it (KeyError: 'sha256'); --verbose",
        ),
        (
            AssertionError(),
            70,
            "error: this is a fault of temport, please report it (AssertionError: ); --verbose",
        ),
        (KeyboardInterrupt(), 130, "error: interrupted\n"),
        (typer.Exit(1), 1, ""),
    ],
    ids=repr,
)
def test_what_goes_wrong_is_one_sentence(
    error: BaseException, code: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found, text = outcome(error, capsys)
    assert found == code and text.startswith(told) and "Traceback" not in text


def test_verbose_shows_the_trace(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TEMPORT_VERBOSE", "1")
    code, text = outcome(KeyError("x"), capsys)
    assert code == 70 and text.startswith("Traceback") and "in fails" in text


@pytest.mark.parametrize("words", [["--verbose", "parity", "nowhere"], ["-v", "parity", "nowhere"]])
def test_the_option_verbose(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPORT_VERBOSE", "")  # which the option sets
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2
    assert "Traceback" in done.output and "error: nowhere is not a bundle" in done.output


@pytest.mark.parametrize(
    ("words", "level", "shown"),
    [
        ([], logging.INFO, ["[  0.0 s] tracing"]),
        (["-q"], logging.WARNING, []),
        (["--verbose"], logging.DEBUG, ["[  0.0 s] tracing", "pass prune"]),
    ],
)
def test_how_much_a_command_says(
    words: list[str], level: int, shown: list[str], capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    """Progress is logged under the name of the package; a command listens as long as it runs."""
    monkeypatch.setenv("TEMPORT_VERBOSE", "")  # which --verbose sets
    monkeypatch.setattr(LOG, "handlers", [])
    ends: list[Callable[[], None]] = []
    monkeypatch.setattr(cli, "listen", lambda level: ends.append(listen(level)) or (lambda: None))
    CliRunner().invoke(app, [*words, "parity", "nowhere"])
    assert LOG.level == level and len(LOG.handlers) == 1
    with Progress(Terminal()) as progress:
        progress.step("tracing")
    LOG.debug("pass prune")
    assert capsys.readouterr().out.splitlines() == shown
    ends[0]()
    assert not LOG.handlers and LOG.level == logging.NOTSET
    assert CliRunner().invoke(app, ["-v", "-q", "list"]).exit_code == 2


@pytest.mark.parametrize("redirection", ["> /dev/full", "| true"])
def test_output_that_is_lost_is_no_success(redirection: str) -> None:
    """`true` ends without reading; many lines so that no buffer of a pipe holds them all."""
    many = "app.command('many')(lambda: [print('x' * 99) for _ in range(9999)])"
    code = f"from temport.exporter.cli import app, main; {many}; main()"
    script = f'"{sys.executable}" -c "{code}" many {redirection}; exit ${{PIPESTATUS[0]}}'
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert done.returncode == 74, done.stderr
    assert done.stderr.startswith("error: the output did not get out: ") and "Traceback" not in done.stderr


def test_a_terminal_without_our_signs_is_no_error() -> None:
    """Of a command that imports nothing: only `main` has a part in it."""
    code = "from temport.exporter.cli import app, main; app.command('tick')(lambda: print('\u2713 pass')); main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "tick"],
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
    )
    assert done.returncode == 0 and done.stdout == b"? pass\n", done.stderr


@pytest.mark.slow
def test_an_interrupt_is_130_and_leaves_nothing(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, "export", "--arch", "mega", "--out", "b"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's & has it ignored
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert process.stderr is not None and process.stderr.read().startswith("error: interrupted")
    assert not list(tmp_path.iterdir())


def test_words_from_outside_stay_words(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal(force_terminal=True, width=100)
    terminal.print(Text(ESCAPE, "red"), "wrote", "x[/bold]", "[red]:smile:")
    out = capsys.readouterr().out
    assert r"\x1b[31mred" in out and "x[/bold]" in out and "[red]:smile:" in out
    assert "\x1b]0;" not in out and "\x07" not in out and "\u202e" not in out
    assert printable("two\nlines\tand tabs, ✓ and ü") == "two\nlines\tand tabs, ✓ and ü"
