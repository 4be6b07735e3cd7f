"""Two hundred wrong uses of the command: each is one sentence and exit code 2, and writes nothing."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import typer

from temport.exporter.cli import app
from temport.exporter.export import export

COMMAND = typer.main.get_command(app)
"""Made once: `app(words)` makes all commands of it anew, which takes longer than a refusal."""

OWN = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)
    def forward(self, x):
        return self.layer(x)

class Two(Net):
    def forward(self, keys, values):
        return self.layer(keys), self.layer(values)

class Raises(Net):
    def forward(self, x):
        raise ValueError("not this")

class Words(Net):
    def forward(self, x):
        return "words"

class Nothing(Net):
    def forward(self, x):
        return None

class Random(Net):
    def forward(self, x):
        return torch.rand_like(x)

class Branches(Net):
    def forward(self, x):
        return self.layer(x) if x.sum() > 0 else x

class Ranks(Net):
    def forward(self, x):
        return x[0] if x.shape[1] == 1 else x

def number():
    return 3

def needs(argument):
    return Net()

def quits():
    raise SystemExit(0)

value = 3
"""

MEGA = "export --arch mega --set embed_dim=8 --set hidden_size=16 --set num_layers=1"
OPTIONS = [
    f"{MEGA} {words}"
    for words in (
        "--seq 0", "--seq -3", "--seq 1.5", "--seq sixty", "--seq 1:2", "--seq 9:5:20", "--seq 1:2:3:4", "--seq ''",
        "--seq 99999999999", "--seq :", "--batch 0", "--batch many", "--batch 8:4:1", "--batch -1", "--memory 9",
        "--opset 5", "--opset 99", "--opset ten", "--ops plain", "--ops ''", "--precision fp8", "--precision FP16",
        "--target cuda", "--target tensorrt --plugin nowhere.so", "--compute-capability 89", "--optimization-level 9",
        "--target tensorrt-rtx --optimization-level 9", "--target tensorrt-rtx --compute-capability x",
        "--target tensorrt-rtx --workspace-mib 0", "--workspace-mib 5", "--timing-cache c", "--aot-plugin",
        "--target tensorrt-rtx --build-timeout 0", "--without prun", "--without lower_precision", "--without ''",
        "--runtime openvin", "--runtime ''", "--runtime cpp --runtime nothing", "--weights nowhere.safetensors",
        "--weights own.py", "--weights .", "--weights empty.safetensors", "--weights pickled.pt", "--weights short.st",
        "--weights other.safetensors", "--weights-layout edifice", "--weights-layout theirs", "--input nowhere.npz",
        "--input own.py", "--input .", "--input words.csv", "--input narrow.npy", "--input pickled.npy",
        "--input broken.npz", "--input nan.npy", "--input other.npz", "--set nothing=3", "--set hidden_size",
        "--set hidden_size=", "--set hidden_size=four", "--set hidden_size=-8", "--set hidden_size=0",
        "--set num_layers=0", "--set hidden_size=2.5", "--set =3", "--set dropout=2", "--seed x", "--nothing",
        "--shape x=batch,3", "--axis past=3", "--output-names a", "--drop-output a", "--module own.py:Net",
        "--streaming --seq dynamic", "--keep-passes own.py", "--out own.py",
        "--out own.py/inside", "--out folder", "extra", "--seed -1", "--seed 99999999999999999999999", "--cc g++",
        "--target native --cc nowhere-g++", "--target native --cc own.py", "--target native --cc folder",
        "--target native --engine-isa x", "--target native --engine-isa ''", "--engine-isa avx2", "--source-only",
        "--target native --engine-isa neon", "--target tensorrt-rtx --source-only", "--target native --plugin x.so",
        "--target native --compute-capability 89", "--target native --aot-plugin", "--out own.py/inside/x",
    )
]  # fmt: skip
MODULES = [
    f"export --module {words}"
    for words in (
        "own.py", "own.py:", ":Net", "nowhere.py:Net", "own.py:net", "own.py:value", "own.py:number", "own.py:needs",
        "own.py:quits", "folder:Net", "no_package.module:Net", "json:dumps", "os.path:nothing", "broken.py:Net",
        "raises.py:Net", "imports.py:Net", "words.csv:Net", "own.py:Net", "own.py:Net --shape x",
        "own.py:Net --shape x=batch,seq,4", "own.py:Net --shape x=batch,time,3", "own.py:Net --shape x:float=batch,3",
        "own.py:Net --shape x:int64=batch,3", "own.py:Net --shape x:int64[0:5]=batch,3", "own.py:Net --shape =batch,3",
        "own.py:Net --shape x=", "own.py:Net --shape 'x=batch,-3'", "own.py:Net --shape x=batch,3 --shape y=batch,3",
        "own.py:Net --shape x=batch,3 --shape x=batch,3", "own.py:Net --shape x=batch,3 --axis past",
        "own.py:Net --shape x=batch,3 --axis past=none", "own.py:Net --shape x=batch,3 --axis seq=4",
        "own.py:Net --shape x=batch,past,3 --axis past=3 --axis past=4",
        "own.py:Net --shape x=batch,past,3 --axis past=0",
        "own.py:Net --shape 'x:float32[1]=batch,3'", "own.py:Net --shape 'x:float32[a:b]=batch,3'",
        "own.py:Net --shape 'x:bool[maybe]=batch,3'", "own.py:Net --shape 'x:int64[3:3]=batch,3'",
        "own.py:Net --shape x=batch,3 --set a=1", "own.py:Net --shape x=batch,3 --memory 4",
        "own.py:Net --shape x=batch,3 --weights-layout edifice",
        "own.py:Net --shape x=batch,3 --weights other.safetensors",
        "own.py:Net --shape x=batch,3 --output-names a,b", "own.py:Net --shape x=batch,3 --output-names a/b",
        "own.py:Net --shape x=batch,3 --drop-output y", "own.py:Net --shape x=batch,3 --drop-output output",
        "own.py:Net --shape x=batch,seq,3 --streaming", "own.py:Net --shape x=batch,3 --streaming",
        "own.py:Two --shape keys=batch,3", "own.py:Two --shape keys=batch,3 --shape vals=batch,3",
        "own.py:Two --shape keys=batch,3 --shape values=batch,3 --output-names a,a",
        "own.py:Raises --shape x=batch,3", "own.py:Words --shape x=batch,3", "own.py:Nothing --shape x=batch,3",
        "own.py:Random --shape x=batch,3", "own.py:Branches --shape x=batch,3",
        "own.py:Ranks --shape x=batch,seq,3 --seq dynamic",
    )
]  # fmt: skip
OTHERS = [
    "export", "export --arch", "export --arch ''",
    "export --arch mega --module own.py:Net", "nothing",
    "list nothing", "list mega hybrid", "list --all",
    "parity", "parity nowhere", "parity own.py", "parity folder", "parity .",
    "parity bundle --runtime openvin", "parity bundle --input nowhere.npz", "parity bundle --input narrow.npy",
    "parity bundle --module own.py:Net", "parity bundle --runner nowhere", "parity bundle --runner own.py",
    "parity bundle --out own.py", "parity bundle --out own.py/inside", "parity bundle extra", "parity '' ",
    "triton", "triton nowhere", "triton bundle", "triton bundle --out", "triton folder --out repository",
    "triton bundle --out own.py", "bench nothing", "bench model --arch meg", "bench model --seconds x",
    "bench ops --nothing", "bench engines --precision fp8", "bench engines --seq 0", "bench deploy --arch meg",
    *(f"certify {words}" for words in ("", "nowhere", "folder", "bundle", "bundle --rate 0", "bundle --rate nan",
      "bundle --budget 3", "bundle --budget -3us", "bundle --frames 0", "bundle --core 999", "bundle --digest 12")),
    *(f"bench engine {words}" for words in ("--model nothing", "--contender nothing", "--seconds 0", "--seconds nan",
      "extra")),
    *(f"bench modules {words}" for words in ("", "nowhere.toml", "own.py", "folder", "empty.toml", "double.toml")),
    *(f"verify {words}" for words in ("", "nowhere", "folder", "bundle --digest x", "bundle --module own.py:Net")),
    *(f"export --config {name}" for name in ("''", "folder", "nowhere.toml", "own.py", *(f"{n}.toml" for n in (
      "empty", "double", "latin", "unknown", "number", "list", "table", "word", "date", "both", "nested")))),
]  # fmt: skip

TOML = {
    "empty": "", "double": "seq = 60\nseq = 70\n", "unknown": "nothing = 3\n", "number": "arch = 3.5\n",
    "list": "arch = 'mega'\nseq = [1, 2]\n", "table": "arch = 'mega'\nset = {hidden_size = {a = 1}}\n",
    "word": "module = 'own.py:Net'\nstreaming = 'yes'\n", "date": "arch = 'mega'\nseq = 1979-05-27\n",
    "both": "arch = 'mega'\nmodule = 'own.py:Net'\n", "nested": "arch = 'mega'\n[compile]\ncc = 'g++'\n",
}  # fmt: skip


def _write(path: Path, text: str) -> None:
    path.write_text(text)


def _link(path: Path) -> None:
    """The same file, from elsewhere."""
    path.rename(path.parent.parent / path.name)
    path.symlink_to(path.parent.parent / path.name)


def _edit(key: str, value: object) -> Callable[[Path], None]:
    def damage(bundle: Path) -> None:
        manifest = json.loads((bundle / "manifest.json").read_text())
        if value is None:
            del manifest[key]
        else:
            manifest[key] = value
        (bundle / "manifest.sha256").unlink()  # which would refuse every change
        _write(bundle / "manifest.json", json.dumps(manifest))

    return damage


DAMAGE: dict[str, Callable[[Path], object]] = {
    **{f"no {name}": lambda b, name=name: (b / name).unlink() for name in
       ("manifest.json", "model.onnx", "vectors.npz", "weights.safetensors", "report.json")},
    **{f"empty {name}": lambda b, name=name: _write(b / name, "") for name in
       ("manifest.json", "model.onnx", "vectors.npz", "weights.safetensors")},
    **{f"cut {name}": lambda b, name=name: (b / name).write_bytes((b / name).read_bytes()[:-9]) for name in
       ("manifest.json", "model.onnx", "vectors.npz", "weights.safetensors", "report.html")},
    **{f"linked {name}": lambda b, name=name: _link(b / name)
       for name in ("manifest.json", "model.onnx", "vectors.npz")},
    **{f"manifest: no {key}": _edit(key, None) for key in ("format", "files", "declaration")},
    **{f"manifest: {key} {value!r}": _edit(key, value) for key in ("format", "files", "declaration")
       for value in (7, "x", [], {})},
    "manifest: a list": lambda b: _write(b / "manifest.json", "[]"),
    "manifest: binary": lambda b: (b / "manifest.json").write_bytes(b"\xff\xfe\x00"),
    "manifest: deep": lambda b: _write(b / "manifest.json", "[" * 100000),
    "a folder for the model": lambda b: ((b / "model.onnx").unlink(), (b / "model.onnx").mkdir()),
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory with a good bundle and many bad files; the working directory while it lasts."""
    folder = tmp_path_factory.mktemp("wrong")
    before = Path.cwd()
    os.chdir(folder)
    _write(folder / "own.py", OWN)
    _write(folder / "broken.py", "def f(:")
    _write(folder / "raises.py", "1 / 0")
    _write(folder / "imports.py", "import nowhere_at_all")
    _write(folder / "words.csv", "a,b\none,two\n")
    _write(folder / "broken.npz", "PK\x03\x04 and no more")
    for name, text in TOML.items():
        _write(folder / f"{name}.toml", text)
    (folder / "latin.toml").write_bytes(b"arch = 'm\xe9ga'")
    (folder / "empty.safetensors").touch()
    (folder / "short.st").write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00{}")
    (folder / "pickled.pt").write_bytes(b"PK\x03\x04" + bytes(99))
    np.save(folder / "narrow.npy", np.zeros((1, 60, 3), np.float32))
    np.save(folder / "nan.npy", np.full((1, 60, 8), np.nan, np.float32))
    np.save(folder / "pickled.npy", np.array([{}], object), allow_pickle=True)
    np.savez(folder / "other.npz", somebody=np.zeros(3))
    from safetensors.numpy import save_file

    save_file({"another": np.zeros(3, np.float32)}, folder / "other.safetensors")
    (folder / "folder").mkdir()
    _write(folder / "folder" / "kept.txt", "somebody's")
    small = ("embed_dim=8", "hidden_size=16", "num_layers=1", "ema_dim=4")
    export("mega", seq=9, settings=small, runtimes=("onnxruntime_cpu",), out="bundle")
    yield folder
    os.chdir(before)


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What the command says; it has to be a sentence, with exit code 2."""
    try:
        with pytest.raises(SystemExit) as ending:
            COMMAND(words, prog_name="temport")
    finally:
        said = capsys.readouterr()
    assert ending.value.code == 2, said.err + said.out
    assert "Traceback" not in said.err and "fault of temport" not in said.err
    errors = [line for line in said.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 or "Usage:" in said.err or "─ Error ─" in said.err, said.err
    return said.err


@pytest.mark.parametrize("line", [*OPTIONS, *MODULES, *OTHERS])
def test_a_wrong_use_is_a_sentence(line: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(place.rglob("*"))
    refused(shlex.split(line), capsys)
    assert [p for p in sorted(place.rglob("*")) if "__pycache__" not in p.parts] == [
        p for p in before if "__pycache__" not in p.parts
    ]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_bundle_is_a_sentence(damage: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(place / "damaged", ignore_errors=True)
    shutil.copytree(place / "bundle", place / "damaged" / "bundle")
    DAMAGE[damage](place / "damaged" / "bundle")
    for words in (
        ["parity", "damaged/bundle", "--runtime", "onnxruntime_cpu"],
        ["triton", "damaged/bundle", "--out", "x"],
    ):
        refused(words, capsys)
    shutil.rmtree(place / "damaged")


def test_there_are_two_hundred() -> None:
    assert len(OPTIONS) + len(MODULES) + len(OTHERS) + 2 * len(DAMAGE) >= 200
