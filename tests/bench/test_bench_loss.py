"""`temport bench loss`: what the rows say is what the outputs of two models say, and no stream is made up."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from temport.exporter.bench.loss import KINDS, run
from temport.exporter.compress.uniform import in_one_type
from temport.exporter.declare.architectures import declare
from temport.exporter.errors import UserError
from temport.exporter.parity.trial import cases_for


def test_rows(tmp_path: Path) -> None:
    lines: list[str] = []
    rows = run(("dms",), 8, tmp_path / "loss.json", lines.append)
    assert [(row.kind, row.streaming) for row in rows] == [
        (kind, False) for kind in KINDS
    ]  # dms has no stream
    assert len(lines) == 3 and lines[2].startswith("| dms, window | ")
    assert json.loads((tmp_path / "loss.json").read_text())[0]["largest"] == rows[0].largest

    declaration, module, _ = declare("dms", (), seq="8")
    cases = [case for case in cases_for(declaration) if case.kind == "normal"]
    for row in rows:
        stored = in_one_type(module.float(), declaration, row.kind).double()
        losses = [loss(stored, module.double(), case.inputs.values()) for case in cases]
        assert (row.largest, row.rms) == pytest.approx(max(losses), rel=1e-6)


def loss(stored: nn.Module, trained: nn.Module, inputs: Iterable[np.ndarray]) -> tuple[float, float]:
    given = [torch.from_numpy(x) for x in inputs]
    with torch.no_grad():
        found, truth = (
            module(*(x.double() if x.is_floating_point() else x for x in given)).numpy()
            for module in (stored, trained)
        )
    error = np.abs(found - truth)
    return error.max() / np.abs(truth).max(), np.sqrt(np.square(error).mean() / np.square(truth).mean())


def test_an_unknown_architecture_is_refused_first(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown architecture 'megga'"):
        run(("dms", "megga"), 8, tmp_path / "loss.json")
    assert not (tmp_path / "loss.json").exists()
