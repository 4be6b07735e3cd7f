"""One small exported model for the whole room, and ways to spoil it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from temport.exporter.build import save
from temport.exporter.declare.architectures import declare
from temport.exporter.parity.cases import Case, default_cases
from temport.exporter.parity.oracle import Truth, find_truths
from temport.exporter.runtimes.subject import Subject
from tests.traces import build

Edit = Callable[[onnx.ModelProto], None]
OPTIONS = ("embed_dim=12", "num_layers=2", "num_heads=2", "head_dim=8", "window_size=5", "ffn_dim=16")


@pytest.fixture(scope="session")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """A sliding-window model: two layers, 21 steps, window 5, batch 1 to 8, whole sequence computed."""
    declaration, module, _ = declare("sliding_window", OPTIONS, batch="1:4:8", seq="21")
    declaration = replace(declaration, without=("prune",))
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    save(build(module, declaration), path, external_data=False)
    return Subject(declaration, path, module)


@pytest.fixture(scope="session")
def cases(subject: Subject) -> tuple[Case, ...]:
    return default_cases(subject.declaration)


@pytest.fixture(scope="session")
def truths(subject: Subject, cases: tuple[Case, ...]) -> tuple[Truth, ...]:
    return find_truths(subject, cases)


@pytest.fixture
def tampered(subject: Subject, tmp_path: Path) -> Callable[[Edit], Subject]:
    """The subject with its file edited, its torch source untouched."""

    def make(edit: Edit) -> Subject:
        model = onnx.load(subject.model_path)
        edit(model)
        path = tmp_path / "model.onnx"
        path.write_bytes(model.SerializeToString())
        return replace(subject, model_path=path)

    return make
