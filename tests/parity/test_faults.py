"""Every structural fault is caught, in every architecture and precision; a right file passes the same questions.

The whole table, over all cases: `python -m tests.parity.fault_table`.
"""

from __future__ import annotations

from functools import cache

import pytest
from _pytest.mark import ParameterSet

from temport.exporter.declare.declaration import HALF
from temport.exporter.parity.file_checks import check_file
from temport.exporter.parity.result import PASS
from temport.exporter.parity.trial import Trial
from temport.graphs.registry import ARCHITECTURES
from tests.parity.fault_table import PRECISIONS, Judge
from tests.parity.faults import FAULTS, STEP_FAULTS
from tests.parity.small_models import MODELS, STEP_MODELS
from tests.small_models import thorough_but

KINDS = ("normal", "impulse")
"""Two cases show every fault; the table has all."""


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory):
    """The judge of one architecture in one precision, made once."""

    @cache
    def of(arch: str, precision: str, streaming: bool = False) -> Judge:
        return Judge.of(arch, precision, tmp_path_factory.mktemp(arch), streaming, KINDS)

    return of


def test_every_architecture_is_here():
    assert set(MODELS) == set(ARCHITECTURES)


IN_HALF = {"float16": ("sliding_window", "mega"), "bfloat16": ("sliding_window",)}
"""What a half type is does not depend on the architecture: the other ones are judged in float32."""
ALIKE = ("attention", "hybrid_mlp")
"""`sliding_window` with other sizes, and `hybrid` with dense layers behind it."""


def pairs(precisions: tuple[str, ...]) -> list[ParameterSet]:
    """Architectures by precision."""
    return [
        pytest.param(
            arch,
            p,
            marks=pytest.mark.thorough if arch in ALIKE or arch not in IN_HALF.get(p, MODELS) else (),
        )
        for arch in MODELS
        for p in precisions
    ]


@pytest.mark.parametrize(("arch", "precision"), pairs(PRECISIONS))
def test_structural_faults_are_caught(judge, arch, precision):
    """In the graph and in the file whatever the precision; in a float16 runtime as well, by statistics."""
    of = judge(arch, precision)
    found = {name: shares for name, fault in FAULTS.items() if (shares := of.shares(fault)) is not None}
    assert len(found) >= 5
    for name, shares in found.items():
        exactly = {"graph", "file"} if precision in HALF else {"runtime"}
        assert min(shares[place] for place in exactly) > 100, (name, shares)


@pytest.mark.parametrize("arch", thorough_but(STEP_MODELS, [a for a in STEP_MODELS if a not in ALIKE]))
def test_structural_faults_of_step_models_are_caught(judge, arch):
    of = judge(arch, "float32", streaming=True)
    found = {name: shares for name, fault in STEP_FAULTS.items() if (shares := of.shares(fault)) is not None}
    assert len(found) >= 4
    assert min(shares["runtime"] for shares in found.values()) > 100, found


@pytest.mark.parametrize(("arch", "precision"), pairs(HALF))
def test_a_right_file_passes_the_same_questions(judge, arch, precision):
    of = judge(arch, precision)
    trial = Trial.of(of.model.declaration, of.right, of.model.module)
    rows = check_file(trial.subject, of.truths, of.before)
    assert [(row.name, row.verdict) for row in rows] == [("graph", PASS), ("weights", PASS), ("file", PASS)]
    assert max(o.share for row in rows[::2] for r in row.results for o in r.outputs.values()) < 0.5


CAUGHT_IN_RUNTIMES = {
    "float16": (
        "window one short",
        "positions shifted",
        "frames lost",
        "q times 1.1",
        "one channel times 1.1",
    ),
    "bfloat16": ("window one short", "positions shifted", "frames lost", "frames swapped", "bias dropped"),
}


@pytest.mark.parametrize("precision", HALF)
def test_faults_of_a_half_kernel_are_caught_by_statistics(judge, precision):
    """Where file and graph are right and only a kernel is wrong, rounding hides the smallest faults of bfloat16."""
    of = judge("sliding_window", precision)
    shares = {name: of.shares(FAULTS[name])["runtime"] for name in CAUGHT_IN_RUNTIMES[precision]}
    assert min(shares.values()) > 1, shares
