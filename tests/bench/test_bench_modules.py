"""The table over modules of anybody's: what it says of one, and of a list that is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from temport.exporter.bench.modules import run
from temport.exporter.errors import UserError

MODULE = """
import torch
from torch import nn

class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(8, 8) for _ in "qkv")

    def forward(self, x):
        scores = self.q(x) @ self.k(x).mT / 8**0.5
        weights = scores.softmax(-1)
        return weights @ self.v(x), {returned}
"""
LIST = """
[[module]]
module = "found.py:Attention"
shape = ["x=batch,seq,8"]
seq = 5
[[module]]
module = "kept.py:Attention"
shape = ["x=batch,seq,8"]
seq = 5
"""


def test_a_row_says_what_was_recognised_and_what_it_took(tmp_path: Path) -> None:
    for name, returned in (("found", "x.amax(1)"), ("kept", "weights")):
        (tmp_path / f"{name}.py").write_text(MODULE.replace("{returned}", returned))
    (tmp_path / "list.toml").write_text(LIST)
    out = tmp_path / "table.json"
    found, kept = run(tmp_path / "list.toml", out, threads=1, seconds=0.02, progress=lambda _: None)
    assert "is recognised as OnlineSoftmaxAttention without a mask" in found.found[0] and not found.kept
    assert "its weights are read too" in kept.kept[0] and not kept.found
    for row in (found, kept):
        assert row.before is not None and row.after < row.before
        assert row.ours and row.plain and set(row.parity.values()) == {"pass"} and not row.left_out
    assert [row["name"] for row in json.loads(out.read_text())["modules"]] == ["found", "kept"]
    page = out.with_suffix(".md").read_text()
    assert page.count("\n| ") == 3 and f"| found | {found.before} | {found.after} |" in page


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("module = 1", r"has no \[\[module\]\]"),
        ("[[module]]\nmodul = 'm.py:make'", "'modul' is no option of an export; did you mean module"),
        ("[[module", "is no list of modules"),
    ],
)
def test_what_is_no_list_is_one_sentence(text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "list.toml").write_text(text)
    with pytest.raises(UserError, match=told):
        run(tmp_path / "list.toml", tmp_path / "t.json", threads=1, seconds=0.02, progress=lambda _: None)
