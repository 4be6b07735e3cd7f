"""What a user's own file raises is one sentence with their own line, exit code 2, and nothing written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from rich.console import Console

from temport.exporter.declare.loading import load_factory
from temport.exporter.errors import UserError
from temport.exporter.export import run_export
from temport.exporter.request import ExportRequest
from temport.plugins import first_line

SOURCE = """
import torch
from torch import nn

class Asserts(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x):
        assert x.shape[1] == 11, "made for eleven frames"
        return self.layer(x)

class Raises(Asserts):
    def forward(self, x):
        raise KeyError("own")

class Branches(Asserts):
    def forward(self, x):
        return self.layer(x) if x.sum() >= 0 else self.layer(-x)

def no_module():
    raise ValueError("not today")

class Fills(Asserts):
    def forward(self, x):
        return self.layer(x).masked_fill(x[..., :2] > 1, -1e9)

TABLE = torch.ones(2, 2)

class Plain(Asserts):
    def forward(self, x):
        return self.layer(x) @ TABLE
"""


def export(path: Path, factory: str, precision: str | None = None) -> bool:
    request = ExportRequest(
        module=f"{path}:{factory}",
        shapes=("x=batch,seq,3",),
        seq="11",
        precision=precision,
        runtimes=("onnxruntime_cpu",),
        out=path.parent / "made" / "bundle",
    )
    return run_export(request, Console(quiet=True)).passed


@pytest.mark.parametrize(
    ("factory", "told"),
    [
        ("no_module", r"own.py:no_module makes no module: ValueError: not today \(.*own.py, line 23: .*\)"),
        (
            "Raises",
            r"does not run with batch 1, seq 11: KeyError: 'own' \(.*own.py, line 16: .*\); give --shape",
        ),
        ("Branches", r"own.py:Branches cannot be traced: .*\(.*own.py, line 20: .*\)"),
    ],
)
def test_what_it_raises_is_a_sentence_with_its_line(factory: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text(SOURCE)
    with pytest.raises(UserError, match=told):
        export(path, factory)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("factory", "precision", "told"),
    [
        (
            "Fills",
            "fp16",
            r"own.py:Fills itself does not run in float16: .*overflow.*; fill masked scores with -torch.inf",
        ),
        (
            "Plain",
            None,
            r"own.py:Plain itself does not run in float64, .*; keep tensors as buffers",
        ),
    ],
)
def test_a_type_that_it_does_not_take_is_told_before_anything_is_traced(
    factory: str, precision: str | None, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("temport.exporter.export.traced_source", None)
    path = tmp_path / "own.py"
    path.write_text(SOURCE)
    with pytest.raises(UserError, match=told):
        export(path, factory, precision)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("1 / 0", r"own.py cannot be loaded: ZeroDivisionError: division by zero \(.*own.py, line 1: .*\)"),
        ("raise SystemExit(1)", r"own.py cannot be loaded: SystemExit: 1 \(.*own.py, line 1: .*\)"),
        ("import nowhere_at_all", "cannot be loaded: ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("def f(:", "own.py is not valid Python"),
    ],
)
def test_a_file_that_does_not_load(text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text(text)
    with pytest.raises(UserError, match=told):
        export(path, "make")


def test_a_module_that_asserts_its_length_is_exported_at_that_length(tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text(SOURCE)
    assert export(path, "Asserts")


def test_a_line_inside_a_package_stands_beside_the_users_own(tmp_path, monkeypatch) -> None:
    folder = tmp_path / "site-packages"
    folder.mkdir()
    (folder / "package_of_theirs.py").write_text(
        "def model():\n    import torch\n    torch.zeros(2) @ torch.zeros(3)\n"
    )
    monkeypatch.syspath_prepend(folder)
    (tmp_path / "calls_a_package.py").write_text("import package_of_theirs\npackage_of_theirs.model()\n")
    where = r"calls_a_package.py, line 2: .*model\(\); in .*package_of_theirs.py, line 3: torch.zeros"
    with pytest.raises(UserError, match=where):
        load_factory(f"{tmp_path}/calls_a_package.py:make")


def test_a_cause_that_a_message_announces_is_told() -> None:
    """OpenVINO's first lines are places in its source, each ending in a colon."""
    error = RuntimeError(
        "Exception from src/core.cpp:105:\nException from src/node.cpp:9:\nshapes differ\nmore"
    )
    assert first_line(error) == (
        "RuntimeError: Exception from src/core.cpp:105: Exception from src/node.cpp:9: shapes differ"
    )
    assert first_line(ValueError("one\ntwo")) == "ValueError: one" and first_line(KeyError()) == "KeyError"


def test_a_file_that_changed_within_a_second_is_read_anew(tmp_path: Path) -> None:
    """Python takes byte code that it kept where the size and the second of the text are the same."""
    path = tmp_path / "own.py"
    for name in ("one", "two"):
        path.write_text(f"def make():\n    return {name!r}\n")
        os.utime(path, (1_700_000_000, 1_700_000_000))
        assert load_factory(f"{path}:make")() == name
