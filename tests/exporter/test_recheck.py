"""`temport parity` on a bundle that was made of a user's module: it runs nothing that a manifest names."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from temport.exporter import recheck
from temport.exporter.bundle.directory import MANIFEST, file_entries, open_bundle, seal
from temport.exporter.compilers import targets
from temport.exporter.errors import UserError
from temport.exporter.export import run_export
from temport.exporter.parity.serial import read_json
from temport.exporter.recheck import run_parity_of_bundle
from temport.exporter.request import ExportRequest
from temport.exporter.runtimes import runtime_named
from temport.exporter.runtimes.converted import Converted
from temport.exporter.runtimes.runner import local_runner
from temport.exporter.runtimes.subject import Subject
from tests.parity.forms import Evaluated

SOURCE = """
from torch import nn

class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x):
        return self.layer(x)
"""
MARK = "\nfrom pathlib import Path\nPath(__file__).with_suffix('.ran').touch()\n"
QUIET = Console(quiet=True)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    (tmp_path / "own.py").write_text(SOURCE)
    request = ExportRequest(
        module=f"{tmp_path / 'own.py'}:Own",
        shapes=("x=batch,3",),
        runtimes=("onnxruntime_cpu",),
        out=tmp_path / "bundle",
    )
    assert run_export(request, QUIET).passed
    return tmp_path / "bundle"


@pytest.mark.parametrize("inside", [False, True], ids=["beside", "in the bundle"])
def test_a_manifest_runs_no_code(inside: bool, bundle: Path, tmp_path: Path) -> None:
    """Neither the file that it was made of, nor one that somebody put into the bundle."""
    evil = (bundle if inside else tmp_path) / "own.py"
    evil.write_text(SOURCE + MARK)
    manifest = json.loads((bundle / MANIFEST).read_text())
    manifest["declaration"]["module"] = f"{evil}:Own"
    seal(bundle, manifest)
    assert run_parity_of_bundle(bundle, ("onnxruntime_cpu",), console=QUIET)
    assert not evil.with_suffix(".ran").exists()
    assert run_parity_of_bundle(bundle, ("onnxruntime_cpu",), console=QUIET, source=f"{evil}:Own")
    assert evil.with_suffix(".ran").exists()  # the mark itself works


def test_without_the_module_only_recorded_inputs_have_a_truth(bundle: Path, tmp_path: Path) -> None:
    own = tmp_path / "x.npy"
    np.save(own, np.ones((1, 3), np.float32))
    with pytest.raises(UserError, match=r"own.py:Own; without it only .* --module PATH.py:FACTORY"):
        run_parity_of_bundle(bundle, ("onnxruntime_cpu",), (own,), console=QUIET)


def test_a_runner_and_a_folder_that_are_not_there_are_told_before_anything_runs(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("temport.exporter.recheck.rebuilt_module", None)
    taken = tmp_path / "taken"
    taken.write_text("")
    with pytest.raises(UserError, match=r"cannot write to .*taken: File exists; choose another --out"):
        run_parity_of_bundle(bundle, out=taken, console=QUIET)
    with pytest.raises(UserError, match="the runner nowhere cannot be run: there is no such program"):
        run_parity_of_bundle(bundle, runners=(local_runner("nowhere"),), console=QUIET)


def test_a_source_that_changed_is_told(bundle: Path, tmp_path: Path) -> None:
    source, out = f"{tmp_path / 'own.py'}:Own", tmp_path / "report"

    def warnings() -> tuple[str, ...]:
        assert run_parity_of_bundle(bundle, ("onnxruntime_cpu",), (), out, console=QUIET, source=source)
        return read_json(out / "report.json").warnings

    assert not any("has changed" in warning for warning in warnings())
    (tmp_path / "own.py").write_text(SOURCE + "\n# a comment\n")
    assert any("own.py has changed since the bundle was made of it" in warning for warning in warnings())


def test_an_architecture_has_no_module(tmp_path: Path) -> None:
    settings = ("hid_dim=4", "n_heads=2", "masked=false")
    request = ExportRequest(
        "dms", settings=settings, seq="3", runtimes=("onnxruntime_cpu",), out=tmp_path / "b"
    )
    run_export(request, QUIET)
    with pytest.raises(UserError, match="the bundle was made of dms, not of a module; leave --module out"):
        run_parity_of_bundle(tmp_path / "b", console=QUIET, source="own.py:Own")


def test_a_form_in_the_bundle_is_a_program_that_runs_where_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own.py").write_text(SOURCE)
    path, form = tmp_path / "bundle", Converted(Evaluated())
    request = ExportRequest(
        module=f"{tmp_path / 'own.py'}:Own", shapes=("x=2,3",), runtimes=("onnxruntime_cpu",), out=path
    )
    run_export(request, QUIET)
    form.add(Subject(open_bundle(path).declaration, path / "model.onnx"))
    seal(path, json.loads((path / MANIFEST).read_text()) | {"files": file_entries(path)})
    monkeypatch.setattr(targets, "FORMS", ("evaluated",))
    for row in (runtime_named("onnxruntime_cpu"), form):
        monkeypatch.setattr(recheck, "chosen", lambda names, row=row: [row])
        assert run_parity_of_bundle(path, out=tmp_path / "out", console=QUIET)
        report = read_json(tmp_path / "out" / "report.json")
        (found,) = report.runtimes
        told = any("own form for evaluated was not judged" in warning for warning in report.warnings)
        assert (found.path == "the bundle's form") == (row is form) == (not told)
