"""A dynamic length stays in its declared range: one frame more or less is an error in every runtime, never numbers.

That lengths within it keep their numbers is the matter of test_every_architecture.
"""

import itertools
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from temport.exporter import build as building
from temport.exporter.build import save
from temport.exporter.declare.declaration import Axis, Declaration, TensorSpec
from temport.exporter.parity.cases import Array
from temport.exporter.passes.order import PASSES
from temport.exporter.runtimes import runtime_named
from temport.exporter.runtimes.contract import Session
from temport.exporter.runtimes.subject import Subject
from temport.graphs.moving_average import DecayKernel
from tests.small_models import SMALL
from tests.traces import build

SHORTEST, LONGEST = 7, 31
FIRST = ("sliding_window", "mega-softmax", "dms-masked")
"""A window, a moving average, two lengths."""


def unchecked(patch: pytest.MonkeyPatch) -> None:
    """Builds without the pass, which `--without` does not allow."""
    patch.setattr(building, "PASSES", tuple(step for step in PASSES if step.name != "limit_lengths"))


def exported(tmp_path: Path, name: str, *settings: str, slow: bool = False, **given: str) -> Subject:
    lengths = f"{SHORTEST}:20:{LONGEST}"
    axes = {"batch": "1:2:3", "seq": lengths, "memory": lengths, **given}
    declaration, module = SMALL[name].declare(*settings, **axes)
    if slow:
        for average in (layer for layer in module.modules() if isinstance(layer, DecayKernel)):
            average.alpha.data.fill_(4)  # so that early frames weigh
    save(build(module, declaration), tmp_path / "model.onnx", external_data=False)
    return Subject(declaration, tmp_path / "model.onnx", module)


def runtimes(subject: Subject) -> tuple[str, ...]:
    every = ("onnx_reference", "onnxruntime_cpu", "openvino")
    custom = any(node.domain == "temport" for node in onnx.load(subject.model_path).graph.node)
    return (*every, "onnxruntime_native") if custom else every


def run(session: Session, declaration: Declaration, **sizes: int) -> Array:
    rng = np.random.default_rng(0)
    arrays = {s.name: rng.standard_normal(s.at(**sizes)).astype(s.dtype) for s in declaration.inputs}
    return session.run(arrays)["output"]


@pytest.mark.parametrize(
    ("name", "batch"),
    [
        *(pytest.param(n, "1:2:3", marks=() if n in FIRST else pytest.mark.thorough) for n in SMALL),
        pytest.param("mega-softmax", "1", marks=pytest.mark.thorough),
        ("dms-masked", "1"),
    ],
)
def test_another_length_is_an_error(tmp_path: Path, name: str, batch: str) -> None:
    subject = exported(tmp_path, name, batch=batch)
    lengths = [axis for axis in subject.declaration.axes if axis != "batch"]
    longest = dict.fromkeys(lengths, LONGEST)
    outside = (LONGEST + 1, 3 * LONGEST, SHORTEST - 1, 1)
    for runtime in runtimes(subject):
        with runtime_named(runtime).open(subject) as session:
            within = run(session, subject.declaration, **longest)
            for axis, length in itertools.product(lengths, outside):
                with pytest.raises(Exception, match=r"(?i)reshape"):
                    run(session, subject.declaration, **longest | {axis: length})
            # an error leaves nothing behind
            np.testing.assert_array_equal(run(session, subject.declaration, **longest), within, strict=True)
            assert len(run(session, subject.declaration, **dict.fromkeys(lengths, SHORTEST))) == len(within)


def test_without_the_check_an_average_ends_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the check is for: numbers, and not those of the model."""
    unchecked(monkeypatch)
    subject = exported(tmp_path, "mega-softmax", slow=True)
    assert subject.module is not None
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 60, 6), np.float32))
    with runtime_named("onnxruntime_native").open(subject) as session, torch.no_grad():
        numbers = session.run({"state_sequence": x.numpy()})["output"]
        truth = subject.module(x).numpy()
    assert np.abs(numbers - truth).max() > 1e-3


def test_without_the_check_rows_of_short_sequences_join(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pruning counts on the shortest declared length: with less, 4 sequences come out as 3."""
    sizes = {"batch": 4, "seq": 3}
    for checked in (False, True):
        with monkeypatch.context() as patch:
            if not checked:
                unchecked(patch)
            subject = exported(
                tmp_path, "sliding_window", "window_size=4", batch="1:2:4", seq=f"12:14:{LONGEST}"
            )
        with runtime_named("onnxruntime_native").open(subject) as session:
            if checked:
                with pytest.raises(Exception, match=f"state_sequence/12<=seq<={LONGEST}"):
                    run(session, subject.declaration, **sizes)
            else:
                assert run(session, subject.declaration, **sizes).shape == (3, 8)


@pytest.mark.parametrize("length", [LONGEST + 1, SHORTEST - 1])
def test_the_message_names_the_input_its_length_and_the_range(tmp_path: Path, length: int) -> None:
    subject = exported(tmp_path, "dms-masked")
    session = runtime_named("onnxruntime_native").open(subject)
    said = rf"query/{SHORTEST}<=seq<={LONGEST}.*\{{2,{length},8\}}"
    with session, pytest.raises(Exception, match=said):
        run(session, subject.declaration, seq=length, memory=LONGEST)


class TwoLengths(torch.nn.Module):
    """An input with two lengths, each of which has a range of its own."""

    def forward(self, pairs: torch.Tensor) -> torch.Tensor:
        return pairs.sum((1, 2))


def test_a_length_too_long_does_not_make_up_for_another_too_short(tmp_path: Path) -> None:
    """4 x 3 where 2 x 6 is declared has as many elements."""
    rows, columns = Axis("rows", 1, 2, 2), Axis("columns", 6, 6, 9)
    declaration = Declaration(
        "module",
        {},
        (TensorSpec("pairs", "float32", (1, rows, columns, 5)),),
        (TensorSpec("output", "float32", (1, 5)),),
    )
    save(build(TwoLengths().eval(), declaration), tmp_path / "model.onnx", external_data=False)
    subject = Subject(declaration, tmp_path / "model.onnx", TwoLengths())
    for runtime in runtimes(subject):
        with runtime_named(runtime).open(subject) as session:
            run(session, declaration, rows=2, columns=6)
            with pytest.raises(Exception, match=r"(?i)reshape"):
                run(session, declaration, rows=4, columns=3)


@pytest.mark.parametrize("name", ["sliding_window", pytest.param("mega-softmax", marks=pytest.mark.thorough)])
def test_fixed_lengths_need_no_check(tmp_path: Path, name: str) -> None:
    model = onnx.load(exported(tmp_path, name, seq=str(LONGEST)).model_path)
    assert not [
        node for node in model.graph.node if "<=" in node.name or node.op_type in ("Shape", "Min", "Max")
    ]


def test_work_is_counted_before_sizes_hide_behind_the_check() -> None:
    declaration, module = SMALL["mega-softmax"].declare(batch="1:2:3", seq=f"{SHORTEST}:20:{LONGEST}")
    assert build(module, declaration).flops["exported"]
