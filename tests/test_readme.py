"""The README and the pages of docs/ say only what works: their commands parse, their Python runs, their files exist."""

import re
import shlex
import sys
from pathlib import Path

import pytest

from temport.exporter import cli

ROOT = Path(__file__).parent.parent
PAGES = "\n".join(page.read_text() for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))))
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGES, re.DOTALL)
COMMANDS = [
    command.strip()
    for language, text in BLOCKS
    if language == "bash"
    for line in text.splitlines()
    for command in line.split("&&")
]
TEMPORT = [c.partition("temport ")[2] for c in COMMANDS if re.match(r"(\.venv/bin/)?temport ", c)]


def test_ci_runs_the_readmes_test_command() -> None:
    assert "bash tests/run.sh" in COMMANDS
    assert (ROOT / ".ci" / "run").read_text().rstrip().endswith("exec bash tests/run.sh")


@pytest.mark.parametrize("arguments", sorted(set(TEMPORT)))
def test_command_parses(arguments: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--help` stops before anything is done, and after every option has been recognised."""
    monkeypatch.setattr(sys, "argv", ["temport", *shlex.split(arguments, comments=True), "--help"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 0


def test_python_block_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from temport.exporter.export import run_export
    from temport.exporter.request import ExportRequest

    bundle = "bundles/mega-seq60"
    small = ("embed_dim=4", "hidden_size=8", "num_layers=1")
    monkeypatch.chdir(tmp_path)
    assert run_export(
        ExportRequest(arch="mega", settings=small, out=Path(bundle), runtimes=("onnxruntime_cpu",))
    ).passed
    blocks = [text for language, text in BLOCKS if language == "python" and bundle in text]
    assert blocks
    for text in blocks:
        exec(compile(text, "README.md", "exec"), {})


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:\w+/)+[\w.]+)`", PAGES))))
def test_named_files_exist(path: str) -> None:
    if not path.startswith("bundles/"):
        assert (ROOT / path).exists()
