"""`--metric`: a user's function says what compression costs, and is refused where it says nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import temport
from temport.exporter.asked import options_in
from temport.exporter.compress.metric import Metric, metric_of
from temport.exporter.errors import UserError
from temport.exporter.export import run_export
from temport.exporter.fleet.keys import build_key
from temport.exporter.parity.result import Compression
from temport.exporter.request import ExportRequest

OWN = """
import torch

class Classes(torch.nn.Module):
    'Integers alone, which --max-loss by itself cannot bound.'

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = torch.nn.Linear(32, 48), torch.nn.Linear(48, 32)

    def forward(self, x):
        return self.second(self.first(x).relu()).argmax(-1)

def changed(stored, trained):
    return (stored["classes"] != trained["classes"]).sum()

number = 3
"""


def compression(own: Path, recording: Path, out: Path, **asked: Any) -> Compression:
    request = ExportRequest(
        module=f"{own}:Classes",
        shapes=("x=64,32",),
        output_names=("classes",),
        inputs=(recording,),
        runtimes=("onnxruntime_cpu",),
        weights_dtype="int4",
        out=out,
        **asked,
    )
    found = run_export(request).report.compression
    assert found is not None
    return found


def test_a_metric_bounds_what_it_says_and_is_recorded(tmp_path: Path) -> None:
    own, recording = tmp_path / "own.py", tmp_path / "own.npy"
    own.write_text(OWN)
    np.save(recording, np.random.default_rng(1).standard_normal((64, 32)).astype(np.float32))
    free = compression(own, recording, tmp_path / "free", metric=f"{own}:changed")
    assert free.metric == f"{own}:changed" and {w.dtype for w in free.weights} == {"int4"}
    (changed,) = (loss.flipped for loss in free.losses if loss.case in free.judged)  # counted by another hand
    assert free.measured == {free.judged[0]: changed} and changed

    def as_many(stored: Any, trained: Any) -> Any:
        wrong = stored["classes"] != trained["classes"]
        trained["classes"][:] = stored["classes"][:] = 0  # whatever it does to them
        return np.asarray(wrong.sum())

    held = compression(own, recording, tmp_path / "held", metric=as_many, max_loss=0)
    assert set(held.measured.values()) == {0.0} and held.max_loss == 0
    assert {w.dtype for w in held.weights} != {"int4"}
    assert (held.metric or "").endswith("as_many")
    assert "as_many" in (tmp_path / "held" / "report.html").read_text()


@pytest.mark.parametrize(
    ("returned", "told"),
    [
        (float("nan"), "gives nan, and a loss is a finite number"),
        (np.float64("inf"), "gives inf"),
        ([1.0], "gives list, and a loss is one number"),
        (np.ones(2), "gives ndarray"),
        (None, "gives NoneType"),
    ],
)
def test_what_is_no_loss_is_one_sentence(returned: object, told: str) -> None:
    with pytest.raises(UserError, match=f"--metric own {told}"):
        Metric("own", lambda stored, trained: returned)({}, {})


def test_what_cannot_be_called_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    for asked, told in (
        (f"{tmp_path}/own.py:number", "has no callable 'number'; .*known: Classes, changed"),
        (f"{tmp_path}/none.py:changed", "--metric .* is not FILE.py:NAME with an existing file"),
        ("changed", "--metric 'changed' is not FILE.py:NAME or package.module:NAME"),
        (3, "--metric is 3; it wants FILE.py:NAME"),
    ):
        with pytest.raises(UserError, match=told):
            metric_of(asked)  # type: ignore[arg-type]
    with pytest.raises(
        UserError, match=r"--metric own fails: KeyError: 'scores' \(.*test_loss_metric.py, line"
    ):
        Metric("own", lambda stored, trained: stored["scores"])({}, {})
    with pytest.raises(UserError, match="--metric says how much --weights-dtype may cost"):
        temport.export("mega", metric="own.py:f", out=tmp_path / "b")
    with pytest.raises(UserError, match="--max-loss nan is no limit of --metric"):
        temport.export(
            "mega", weights_dtype="int8", metric="own.py:f", max_loss=float("nan"), out=tmp_path / "b"
        )


def test_a_fleet_sees_another_metric_in_the_same_file(tmp_path: Path) -> None:
    own = tmp_path / "own.py"
    own.write_text(OWN)
    options = options_in({"metric": "own.py:changed"}, tmp_path / "fleet.toml")
    assert options == {"metric": f"{own}:changed"}
    before = build_key(options, (), {})
    own.write_text(OWN.replace("sum", "mean"))
    assert build_key(options, (), {}) != before
