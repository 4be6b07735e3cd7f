"""examples/ci/temport.yml: its steps run as shell, and every command and option in them exists."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from temport.exporter import cli

WORKFLOW = Path(__file__).parents[1] / "examples" / "ci" / "temport.yml"
STUBS = {
    "temport": """#!/bin/sh
for word; do printf '%s\\0' "$word" >> "$SAID"; done
printf '\\n' >> "$SAID"
while [ $# -gt 0 ]; do
  case "$1" in --out) case "$2" in *.json) : > "$2";; *) mkdir -p "$2"; echo "# card" > "$2/scorecard.md";; esac;; esac
  shift
done
""",
    "gh": """#!/bin/sh
case "$2" in list) echo 17;; download) [ "$3" = 17 ] && mkdir -p base/bundle;; *) exit 1;; esac
""",
    "pip": '#!/bin/sh\n[ "$*" = "install temport" ]\n',
}


def steps(text: str) -> list[dict[str, Any]]:
    workflow = import_module("yaml").safe_load(text)
    (job,) = workflow["jobs"].values()
    return [{**step, "env": {**workflow["env"], **step.get("env", {})}} for step in job["steps"]]


def said(text: str, folder: Path) -> list[list[str]]:
    """The arguments of `temport` in every step, run in order with stubs in the place of programs."""
    (folder / "bin").mkdir()
    for name, stub in STUBS.items():
        (folder / "bin" / name).write_text(stub)
        (folder / "bin" / name).chmod(0o755)
    (folder / "work").mkdir()
    for step in steps(text):
        if "run" not in step:
            assert re.fullmatch(r"actions/[a-z-]+@v\d+", step["uses"])
            continue
        own = {"SAID": str(folder / "said"), "GITHUB_STEP_SUMMARY": str(folder / "summary")}
        own |= {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "GITHUB_BASE_REF": "main", **step["env"]}
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", step["run"]],
            cwd=folder / "work",
            env=own,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{step['name']}: {done.stderr}"
    assert (folder / "summary").read_text() == "# card\n"
    return [line.rstrip("\0").split("\0") for line in (folder / "said").read_text().splitlines()]


def unknown(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the command line does not take them; `--help` stops before anything is done."""
    monkeypatch.setattr(sys, "argv", ["temport", *arguments, "--help"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return stop.value.code != 0


def test_every_command_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = said(WORKFLOW.read_text(), tmp_path)
    assert {command[0] for command in commands} == {"export", "parity", "report", "scorecard", "diff"}
    assert not [command for command in commands if unknown(command, monkeypatch)]


@pytest.mark.parametrize(("right", "wrong"), [("--junit", "--junitt"), ("temport diff", "temport differ")])
def test_a_command_that_is_none_is_seen(
    right: str, wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = said(WORKFLOW.read_text().replace(right, wrong), tmp_path)
    assert [command for command in commands if unknown(command, monkeypatch)]


def test_it_gates_on_parity_and_speed(tmp_path: Path) -> None:
    """The last comparison goes by both; the bundle that it compares with is the one that a push keeps."""
    *_, last = said(WORKFLOW.read_text(), tmp_path)
    asked = {last[i + 1] for i, word in enumerate(last) if word == "--fail-on"}
    assert {"verdicts", "speed"} <= asked and "--speed" in last and last[1:3] == ["base/bundle", "bundle"]
    kept = {
        step["with"]["name"]: step for step in steps(WORKFLOW.read_text()) if "upload" in step.get("uses", "")
    }
    assert kept["temport-bundle"]["with"]["path"] == "bundle" and kept["temport-bundle"]["if"]
    assert "--name temport-bundle" in WORKFLOW.read_text()


@pytest.mark.parametrize("listed", ["", "echo 17"], ids=["no run", "no artifact any more"])
def test_a_base_branch_without_a_bundle_is_no_failure(
    listed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(STUBS, "gh", f'#!/bin/sh\ncase "$2" in list) {listed or ":"};; *) exit 1;; esac\n')
    assert said(WORKFLOW.read_text(), tmp_path)
    assert not (tmp_path / "work" / "base" / "bundle").exists()
