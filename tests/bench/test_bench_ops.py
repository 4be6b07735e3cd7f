"""`temport bench ops`: what it counts, what it refuses, and that a contender computing something else is left out."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from temport.exporter.bench import op_contenders, op_memory, ops
from temport.exporter.bench.op_cases import OpCase, cases
from temport.exporter.bench.op_contenders import CONTENDERS, OURS
from temport.exporter.errors import UserError

SMALL = OpCase("window", 96, heads=2, dim=8, window=20)


@pytest.mark.parametrize(
    "case", [SMALL, replace(SMALL, window=0), replace(SMALL, block=32), replace(SMALL, block=40)], ids=str
)
def test_useful_flops_count_every_pair_once(case: OpCase) -> None:
    """Against a count pair by pair."""
    T, D = case.length, case.dim
    count = 0
    for t in range(T):
        first = (
            t // case.block * case.block if case.block else max(0, t - case.window + 1) if case.window else 0
        )
        count += 4 * D * (t + 1 - first)
        if case.block:
            count += 2 * D * D * (t >= case.block) + 2 * D * D * (t < (T - 1) // case.block * case.block)
    assert case.useful_flops == case.heads * count


@pytest.mark.parametrize("name", [n for n in CONTENDERS if "flex" not in n])
def test_every_contender_computes_the_definition(name: str) -> None:
    for case in (
        SMALL,
        replace(SMALL, family="causal", window=0),
        replace(SMALL, family="block_linear", block=32),
    ):
        if op_contenders.absent(name, case) is None:
            output = op_contenders.as_rows(case, CONTENDERS[name].prepare(case, 1)())
            np.testing.assert_allclose(
                output, case.op.reference([case.qkv], case.attributes), rtol=0, atol=1e-5
            )


def test_report_holds_every_figure(tmp_path: Path) -> None:
    peers = ["torch SDPA"]
    report = ops.run(["window"], [64], threads=(1,), seconds=0.05, contenders=peers, memory_length=None)
    numbers, picture = report.write(tmp_path)
    (result,) = json.loads(numbers.read_text())["results"]
    assert [row["name"] for row in result["rows"]] == [OURS, "torch SDPA"]
    ours = result["rows"][0]
    assert ours["times_slower"] == 1 and 0 < ours["share"] < 1.05
    assert ours["useful_flops_per_second"] == pytest.approx(OpCase("window", 64, window=60).useful_flops
                                                            / ours["timing"]["median"])  # fmt: skip
    assert ElementTree.fromstring(picture.read_text()).tag.endswith("svg")


def test_a_contender_with_another_answer_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer whose window is one key too wide must not be compared by its time."""
    right = CONTENDERS["torch SDPA"]
    wrong = replace(right, prepare=lambda case, threads: right.prepare(replace(case, window=61), threads))
    monkeypatch.setitem(CONTENDERS, "torch SDPA", wrong)
    report = ops.run(
        ["window"], [128], threads=(1,), seconds=0.02, contenders=["torch SDPA"], memory_length=None
    )
    assert "computes something else" in report.results[0].left_out["torch SDPA"]


def test_memory_growth_tells_linear_from_quadratic() -> None:
    case = OpCase("window", 2048, window=60)
    ours, dense = op_memory.growth(OURS, case), op_memory.growth("ONNX Runtime Attention-23", case)
    assert ours is not None and dense is not None
    assert ours < 20 < 4 * 2048 * 2048 * 4 / 2**20 < dense  # the peer holds one float per head and pair


@pytest.mark.parametrize(
    ("families", "lengths", "sentence"),
    [(["windows"], [], "Unknown op case 'windows'"), ([], [0], "Length 0 is no sequence length")],
)
def test_unknown_cases_are_one_sentence(families: list[str], lengths: list[int], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        cases(families, lengths)


def test_unknown_contender_is_one_sentence() -> None:
    with pytest.raises(UserError, match="Unknown contender 'torch'"):
        ops.run(["window"], [64], contenders=["torch"])
