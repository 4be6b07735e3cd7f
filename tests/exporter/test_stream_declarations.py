"""What streams and what is refused: architectures, a module of one's own, options that see later frames."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from streams import FAST
from typer.testing import CliRunner

from temport.exporter.bundle.directory import open_bundle
from temport.exporter.cli import app
from temport.exporter.declare.architectures import declare
from temport.exporter.declare.streams import declare_stream, sequence_declaration
from temport.exporter.errors import UserError
from temport.exporter.export import run_export
from temport.exporter.listing import streams
from temport.exporter.request import ExportRequest
from temport.graphs.registry import ARCHITECTURES
from tests.small_models import SMALL, STREAMING


def test_half_precision_is_refused() -> None:
    declaration, module = SMALL["mega-softmax"].declare(seq="9")
    with pytest.raises(UserError, match="--streaming exports float32"):
        declare_stream(replace(declaration, precision="float16"), module)


@pytest.mark.parametrize(
    "arch, settings, seq, sentence",
    [
        ("mega", ["attention_kernel=l1"], "9", "mega cannot stream: attention_kernel=l1 sees later frames"),
        ("dms", [], "9", "dms cannot stream: its input is not one sequence"),
        ("mega", [], "dynamic", "is open, and a stream keeps a fixed number of frames"),
    ],
)
def test_refusals(arch: str, settings: list[str], seq: str, sentence: str) -> None:
    declaration, module, _ = declare(arch, settings, seq=seq)
    with pytest.raises(UserError, match=sentence):
        declare_stream(declaration, module)


OWN = """
from torch import nn
from temport.graphs import build_mega

class Scored(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = build_mega(embed_dim=6, hidden_size=8, ema_dim=3, num_layers=1, seq_len=9)
        self.head = nn.Linear(8, 2)
    def forward(self, x):
        return self.head(self.body(x / 3))
    def forward_sequence(self, x, memory=None):
        return self.head(self.body.forward_sequence(x / 3, memory))

def forgetful():
    made = Scored()
    made.forward_sequence = None
    return made

class Two(nn.Linear):
    def __init__(self):
        super().__init__(6, 2)

    def forward(self, x):
        return {"first": super().forward(x), "second": x}

carries_nothing = lambda: setattr(made := nn.Linear(6, 2), "forward_sequence", made.forward) or made
"""


def exports(folder: Path) -> Callable[..., bool]:
    """Exports a factory of `OWN` as a stream into a folder of its name: whether its gate passed."""
    source = folder / "own.py"
    source.write_text(OWN)

    def export_own(factory: str, shape: str = "x=batch,seq,6") -> bool:
        request = ExportRequest(
            module=f"{source}:{factory}",
            shapes=(shape,),
            seq="9",
            streaming=True,
            runtimes=FAST,
            out=folder / factory,
        )
        return run_export(request, Console(quiet=True)).passed

    return export_own


def test_a_module_of_ones_own(tmp_path: Path) -> None:
    export_own = exports(tmp_path)
    assert export_own("Scored")
    stream = open_bundle(tmp_path / "Scored").declaration
    assert stream.horizon == 9 and any("window of --seq frames" in note for note in stream.notes)
    with pytest.raises(UserError, match="module cannot stream: Linear carries nothing"):
        export_own("carries_nothing")
    with pytest.raises(UserError, match="its input is not one sequence"):
        export_own("carries_nothing", "x=batch,9,6")
    with pytest.raises(UserError, match="the model carries nothing from frame to frame"):
        export_own("Two")


@pytest.mark.thorough
def test_where_a_module_says_nothing_of_frames_its_graph_does(tmp_path: Path) -> None:
    """With our layers inside; test_streams_of_modules has modules of torch's alone."""
    assert exports(tmp_path)("forgetful")


@pytest.mark.parametrize("arch", ["lightning", "sliding_window", "mega", "dms"])
def test_list_says_of_an_architecture_what_its_stream_says(arch: str) -> None:
    """The phrase of the table is that of the declaration, which its layers make."""
    phrases = streams(ARCHITECTURES[arch])
    for name, small in SMALL.items():
        if small.arch.name == arch and name in STREAMING:
            (note,) = (n for n in small.declare_stream(seq="9")[0].notes if n.startswith("streaming is "))
            assert note.removeprefix("streaming is ") in phrases
            assert note.count("exact") == 1
    assert ("no: " in phrases) == (arch in ("mega", "dms"))


def test_list_shows_architectures_and_runtimes() -> None:
    result = CliRunner().invoke(app, ["list"], env={"COLUMNS": "200"})
    assert "exact, however long" in result.output
    assert "l1: no: attention_kernel=l1 sees later frames" in result.output
    assert "onnxruntime_native" in result.output


def test_a_parity_stream_outlasts_any_cache_whatever_its_name() -> None:
    declaration, module, _ = declare("sliding_window", ["window_size=100", "num_layers=1"], seq="100")
    streaming = declare_stream(declaration, module)
    frame, *states = streaming.inputs
    renamed = (frame, *(replace(spec, name=f"state.cache_{i}") for i, spec in enumerate(states)))
    for inputs in (streaming.inputs, renamed):
        (sequence,) = sequence_declaration(replace(streaming, inputs=inputs)).inputs
        assert sequence.at()[1] == 451
