"""Architectures and runtimes of other distributions: found, run like ours, and harmless where they are broken."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from temport.exporter.cli import app, main
from temport.exporter.errors import UserError
from temport.exporter.export import export
from temport.exporter.recheck import run_parity_of_bundle
from temport.exporter.runtimes import RUNTIMES, every, runtime_named
from temport.graphs.registry import ARCHITECTURES, find, offered
from temport.plugins import PluginError

Install = Callable[..., Path]

MODEL = """
from dataclasses import dataclass
from torch import nn
from temport.graphs.architecture import Architecture
from temport.graphs.options import check_counts, option, required
from temport.graphs import sliding_window_attention

@dataclass(frozen=True)
class Config:
    embed_dim: int = required("features per frame")
    window: int = option(5, "frames that a frame attends to")

    def __post_init__(self):
        check_counts(embed_dim=self.embed_dim, window=self.window)

class Glance(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.attend = sliding_window_attention(
            input_size=config.embed_dim, window_size=config.window, num_heads=2, head_dim=4
        )

    def forward_sequence(self, frames):
        return self.attend(frames)

    def forward(self, frames):
        return self.forward_sequence(frames)[:, -1]

ARCHITECTURE = Architecture(
    "glance", "one look back", Config, Glance, example={"embed_dim": 6}, small={"": {"embed_dim": 6, "window": 3}},
    stream="exact, however long",
)
"""
RUNTIME = """
from dataclasses import replace
from temport.exporter.runtimes import runtime_named
from temport.exporter.runtimes.contract import Closing

class Twice:
    name = "twice"
    capabilities = runtime_named("onnxruntime_cpu").capabilities
    def unavailable(self):
        return None
    def open(self, subject, threads=1):
        session = runtime_named("onnxruntime_cpu").open(subject, threads)
        session.path = "twice"
        return session

RUNTIME = Twice()
NAMELESS = object()

class Moody(Twice):
    name = "moody"
    def unavailable(self):
        raise OSError("no mood")

MOODY = Moody()
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a distribution with these entry points, and modules by name, on the path."""

    def put(name: str, entry_points: str, **modules: str) -> Path:
        place = tmp_path / name
        info = place / f"{name}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(textwrap.dedent(entry_points))
        for module, source in modules.items():
            (place / f"{module}.py").write_text(source)
            monkeypatch.delitem(sys.modules, module, raising=False)
        monkeypatch.syspath_prepend(str(place))
        return place

    return put


@pytest.fixture
def foreign(install: Install) -> None:
    """A distribution with one architecture and one runtime, both sound."""
    install(
        "foreign",
        """
        [temport.architectures]
        glance = foreign_model:ARCHITECTURE
        [temport.runtimes]
        twice = foreign_runtime:RUNTIME
        """,
        foreign_model=MODEL,
        foreign_runtime=RUNTIME,
    )


def listed() -> str:
    result = CliRunner().invoke(app, ["list"], env={"COLUMNS": "250"})
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.usefixtures("foreign")
def test_both_are_listed_with_their_distribution() -> None:
    output = listed()
    assert "one look back (foreign 1.0)" in output and "exact, however long" in output
    assert "twice (foreign 1.0)" in output
    options = CliRunner().invoke(app, ["list", "glance"], env={"COLUMNS": "250"}).output
    assert "frames that a frame attends to" in options


@pytest.mark.usefixtures("foreign")
@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "stream"])
def test_export_and_parity_take_both(tmp_path: Path, streaming: bool) -> None:
    out = tmp_path / "bundle"
    names = ("twice", "onnxruntime_cpu")
    exported = export("glance", seq=9, settings=("window=4",), streaming=streaming, runtimes=names, out=out)
    assert [(row.name, row.verdict) for row in exported.report.runtimes] == [(name, "pass") for name in names]
    assert run_parity_of_bundle(out, names)


@pytest.mark.usefixtures("foreign")
def test_a_foreign_runtime_runs_unless_others_are_named() -> None:
    assert [runtime.name for runtime in every()] == [*RUNTIMES, "twice"]


BROKEN = {
    "import": (
        "absent_module:ARCHITECTURE",
        "does not load: ModuleNotFoundError: No module named 'absent_module'",
    ),
    "attribute": ("broken_part:MISSING", "does not load: AttributeError"),
    "exit": ("broken_exit:X", "does not load: SystemExit: bye"),
    "spelling": ("no value at all!", "does not load"),
    "type": ("broken_part:NUMBER", "is of type int; it has to be a temport.graphs.architecture.Architecture"),
    "name": ("foreign_model:ARCHITECTURE", "calls itself 'glance'; both names have to be the same"),
}


@pytest.mark.parametrize(("value", "said"), BROKEN.values(), ids=BROKEN)
def test_a_broken_architecture_is_one_sentence(
    install: Install,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    value: str,
    said: str,
) -> None:
    install(
        "shaky",
        f"[temport.architectures]\nwobbly = {value}\n",
        broken_part="NUMBER = 3",
        broken_exit="raise SystemExit('bye')",
        foreign_model=MODEL,
    )
    sentence = f"architecture 'wobbly' of the installed distribution shaky 1.0 {said}"
    monkeypatch.setattr(sys, "argv", ["temport", "export", "--arch", "wobbly"])
    with pytest.raises(SystemExit) as stop:
        main()
    error = capsys.readouterr().err
    assert stop.value.code == 2 and error.startswith(f"error: {sentence}") and error.count("\n") == 1
    assert find("mega") is ARCHITECTURES["mega"]
    assert sentence in listed()


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("absent_module:RUNTIME", "does not load: ModuleNotFoundError"),
        ("foreign_runtime:NAMELESS", "calls itself None; both names have to be the same"),
        ("foreign_runtime:RUNTIME", "calls itself 'twice'; both names have to be the same"),
    ],
)
def test_a_broken_runtime_is_a_row_that_says_why(install: Install, value: str, said: str) -> None:
    install("shaky", f"[temport.runtimes]\nwobbly = {value}\n", foreign_runtime=RUNTIME)
    sentence = f"runtime 'wobbly' of the installed distribution shaky 1.0 {said}"
    with pytest.raises(UserError, match=sentence):
        runtime_named("wobbly")
    *ours, row = every()
    assert [runtime.name for runtime in ours] == list(RUNTIMES)
    assert row.name == "wobbly of shaky 1.0" and str(row.unavailable()).startswith(sentence)
    assert sentence in listed()


def test_a_runtime_that_raises_when_asked_fails_alone(install: Install, tmp_path: Path) -> None:
    install("shaky", "[temport.runtimes]\nmoody = foreign_runtime:MOODY\n", foreign_runtime=RUNTIME)
    small = ("embed_dim=4", "hidden_size=8", "num_layers=1", "ema_dim=2")
    exported = export(
        "mega", seq=5, settings=small, runtimes=("moody", "onnxruntime_cpu"), out=tmp_path / "bundle"
    )
    moody, ours = exported.report.runtimes
    assert (moody.verdict, ours.verdict) == ("fail", "pass")
    assert moody.reason == "it cannot say whether it runs here: OSError: no mood"
    assert (
        "runtime 'moody' of the installed distribution shaky 1.0 cannot say whether it runs here" in listed()
    )


def test_our_names_are_ours(install: Install) -> None:
    install(
        "greedy",
        "[temport.architectures]\nmega = foreign_model:ARCHITECTURE\n[temport.runtimes]\nopenvino = x:Y\n",
        foreign_model=MODEL,
    )
    assert find("mega") is ARCHITECTURES["mega"] and runtime_named("openvino").name == "openvino"
    output = listed()
    for kind, name in (("architecture", "mega"), ("runtime", "openvino")):
        said = f"{kind} '{name}' of the installed distribution greedy 1.0 is not taken: temport has a {name} of its own"
        assert said in output
    assert [runtime.name for runtime in every()] == [*RUNTIMES, "openvino of greedy 1.0"]


def test_a_name_that_two_distributions_give_is_neithers(install: Install) -> None:
    for name in ("one", "other"):
        install(name, "[temport.architectures]\nglance = foreign_model:ARCHITECTURE\n", foreign_model=MODEL)
    assert [plugin.origin for plugin in offered()] == ["one 1.0", "other 1.0"]
    with pytest.raises(
        PluginError, match=r"one 1\.0 is not taken: 2 installed distributions give it that name"
    ):
        find("glance")


def test_damaged_metadata_break_nothing(install: Install, foreign: None) -> None:
    place = install("damaged", "[temport.architectures]\nthis is no list\n")
    (place / "damaged-1.0.dist-info" / "METADATA").unlink()
    install("older", "[temport.architectures]\nold = gone:X\n")
    output = listed()
    assert "the entry points of the installed distribution at" in output and "cannot be read" in output
    assert "architecture 'old' of the installed distribution older 1.0 does not load" in output
    assert "one look back (foreign 1.0)" in output


def test_undid_you_mean_show_what_others_bring(foreign: None) -> None:
    with pytest.raises(UserError, match=r"unknown architecture 'glanse'; did you mean glance\?"):
        export("glanse")
    with pytest.raises(UserError, match=r"unknown runtime 'twise'; did you mean twice\?"):
        runtime_named("twise")


def test_help_asks_no_plug_in(install: Install) -> None:
    """Nothing of another distribution is imported before it is asked for by name, or listed."""
    place = install(
        "loud",
        "[temport.architectures]\nloud = loud:X\n[temport.runtimes]\nloud = loud:X\n",
        loud="raise SystemExit('imported')",
    )
    code = (
        "import sys; sys.argv = ['temport', '--help']\n"
        "import temport.exporter.cli as cli, temport.exporter.runtimes as runtimes\n"
        "try: cli.main()\n"
        "except SystemExit as stop: assert not stop.code\n"
        "runtimes.runtime_named('onnxruntime_cpu')\n"
        "assert not {'torch', 'loud'} & set(sys.modules)"
    )
    env = {"PYTHONPATH": ":".join([*sys.path, str(place)]), "PATH": ""}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
