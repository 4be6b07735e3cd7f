"""`temport.toml`: the options of an export in a file, by the names that they have on the command line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import typer

from temport.exporter import export
from temport.exporter.asked import OPTIONS, fields_of, read_config, request_of
from temport.exporter.cli import app
from temport.exporter.compilers.contract import CompileOptions
from temport.exporter.errors import UserError
from temport.exporter.request import ExportRequest

ROOT = Path(__file__).parents[2]
TOML = """
module = "net.py:make"
shape = ["frames=batch,seq,24"]
seq = "1:60:200"
batch = 2
axis = { past = "0:1:4" }
output-names = ["action", "value"]
input = ["real.npz"]
out = "bundles/net"
weights = "/abs/net.safetensors"
without = "prune"
streaming = true
compute-capability = ["89"]
workspace-mib = 64
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "temport.toml"
    path.write_text(text)
    return path


def test_every_option_of_an_export_can_stand_in_the_file() -> None:
    (command,) = (c for c in typer.main.get_command(app).commands.items() if c[0] == "export")  # type: ignore[attr-defined]
    names = {parameter.opts[0].removeprefix("--") for parameter in command[1].params}
    assert set(OPTIONS) == names - {"config", "no-prune", "help"}


def test_a_file_says_what_the_options_say(tmp_path: Path) -> None:
    (tmp_path / "net.py").touch()
    assert request_of({}, written(tmp_path, TOML)) == ExportRequest(
        module=f"{tmp_path / 'net.py'}:make",
        shapes=("frames=batch,seq,24",),
        seq="1:60:200",
        batch="2",
        axes=("past=0:1:4",),
        output_names=("action", "value"),
        inputs=(tmp_path / "real.npz",),
        out=tmp_path / "bundles/net",
        weights=Path("/abs/net.safetensors"),
        without=("prune",),
        streaming=True,
        compile=CompileOptions(compute_capabilities=("89",), workspace_mib=64),
    )
    assert request_of({"output-names": "a,b"}) == ExportRequest(output_names=("a", "b"))


def test_what_is_typed_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = written(tmp_path, TOML)
    found = request_of({"onnx": Path("m.onnx"), "seq": "9", "workspace-mib": 5}, config)
    assert (found.module, found.onnx, found.seq, found.batch) == (None, Path("m.onnx"), "9", "2")
    assert found.compile == CompileOptions(compute_capabilities=("89",), workspace_mib=5)
    seen: list[ExportRequest] = []

    def stop(request: ExportRequest, console: object = None) -> None:
        seen.append(request)
        raise UserError("enough")

    monkeypatch.setattr(export, "run_export", stop)
    words = [
        "export",
        "--config",
        str(config),
        "--arch",
        "mega",
        "--no-prune",
        "--without",
        "fused_dense",
        "--set",
        "a=1",
    ]
    with pytest.raises(SystemExit):
        app(words, prog_name="temport")
    with pytest.raises(UserError, match="enough"):
        export.export("mega", config=str(config), without=("fused_dense", "prune"), settings=("a=1",))
    typed, called = seen
    assert typed == called
    assert typed == replace(
        request_of({}, config), module=None, arch="mega", without=("fused_dense", "prune"), settings=("a=1",)
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("sequence = 3", "'sequence' is no option of an export; .*seq"),
        ("drop_output = 'a'", "'drop_output' is no option of an export; did you mean drop-output"),
        ("seq = true", "seq is True; it wants a text or a number"),
        ("opset = 'new'", "opset is 'new'; it wants a whole number"),
        ("streaming = 1", "streaming is 1; it wants true or false"),
        ("out = 3", "out is 3; it wants a path"),
        ("shape = [[1]]", r"shape is \[1\]; it wants a text or a number"),
        ("seq = ", "is not TOML"),
        ("\x00", "is not TOML"),
    ],
)
def test_a_wrong_file_is_one_sentence(text: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=sentence):
        read_config(written(tmp_path, text))


def test_a_file_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read: No such file"):
        read_config(tmp_path / "temport.toml")


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*/*.toml")), ids=lambda path: path.stem)
def test_an_example_asks_what_there_is(path: Path) -> None:
    asked = fields_of(read_config(path))
    file, _, factory = asked["module"].rpartition(":")
    assert f"def {factory}()" in Path(file).read_text()
