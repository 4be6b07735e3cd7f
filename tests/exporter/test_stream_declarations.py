"""What streams and what is refused: architectures, a module that says what it gives at every frame."""

from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from streams import FAST
from typer.testing import CliRunner

from temport.exporter.build import traced_source
from temport.exporter.bundle.directory import open_bundle
from temport.exporter.cli import app
from temport.exporter.declare.architectures import declare
from temport.exporter.declare.streams import sequence_declaration
from temport.exporter.errors import UserError
from temport.exporter.export import run_export
from temport.exporter.request import ExportRequest
from temport.exporter.streaming import sequences
from temport.exporter.streaming.declare import declare_stream
from temport.exporter.trace.trace import trace
from tests.small_models import NOT_STREAMING, SMALL, thorough_but


@pytest.mark.parametrize("name", thorough_but(NOT_STREAMING, ("mega-l1", "dms-masked")))
def test_what_does_not_stream_says_why(name: str) -> None:
    declaration, module = SMALL[name].declare(seq="9")
    with pytest.raises(UserError, match=NOT_STREAMING[name]):
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
    def forward_sequence(self, x):
        return self.head(self.body.forward_sequence(x / 3))

class Other(Scored):
    def forward_sequence(self, x):
        return super().forward_sequence(x) + 0.001

class Remembering(Scored):
    def forward_sequence(self, x, memory):
        return super().forward_sequence(x)
"""


def test_a_module_that_gives_every_frame(tmp_path: Path) -> None:
    """Its stream is made of that, and a `forward_sequence` that is no such thing is said."""
    source = tmp_path / "own.py"
    source.write_text(OWN)

    def export_own(factory: str) -> bool:
        request = ExportRequest(
            module=f"{source}:{factory}",
            shapes=("x=batch,seq,6",),
            seq="9",
            streaming=True,
            runtimes=FAST,
            out=tmp_path / factory,
        )
        return run_export(request, Console(quiet=True)).passed

    assert export_own("Scored")
    stream = open_bundle(tmp_path / "Scored").declaration
    assert stream.horizon == 9 and any("a window of 9 frames" in note for note in stream.notes)
    assert stream.sequences is not None and len(stream.sequences.outputs[0].shape) == 3
    with pytest.raises(UserError, match="forward_sequence of Other gives at the last frame something else"):
        export_own("Other")
    with pytest.raises(UserError, match="missing 1 required positional argument: 'memory'"):
        export_own("Remembering")


def test_list_shows_architectures_and_runtimes() -> None:
    result = CliRunner().invoke(app, ["list"], env={"COLUMNS": "200"})
    assert "exact, however long" in result.output
    assert "l1: no, it sees later frames" in " ".join(result.output.split())
    assert "onnxruntime_native" in result.output


def test_a_parity_stream_outlasts_any_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """The declaration and the step graph are of one trace, whatever notes there are."""
    traces: list[object] = []
    monkeypatch.setattr(sequences, "trace", lambda *asked: traces.append(asked) or trace(*asked))
    declaration, module, _ = declare("sliding_window", ["window_size=100", "num_layers=1"], seq="100")
    stream = declare_stream(replace(declaration, notes=("a note",)), module)
    assert stream.notes[0] == "a note"
    (sequence,) = sequence_declaration(stream).inputs
    assert sequence.at()[1] == 451
    assert traced_source(module, stream).outputs == stream.outputs and len(traces) == 1


def test_of_a_range_of_lengths_the_usual_one_is_the_horizon() -> None:
    declaration, module = SMALL["mega-softmax"].declare(seq="3:9:20")
    stream = declare_stream(declaration, module)
    assert stream.horizon == 9 and any("a window of 9 frames" in note for note in stream.notes)
