"""Every registered runtime: the numbers, shapes and types of the declaration, and rows that say what is wrong.

One that cannot run on this machine has to say why, in each of these tests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from temport.exporter.declare.declaration import Axis
from temport.exporter.parity.cases import Case
from temport.exporter.parity.oracle import Truth
from temport.exporter.parity.result import FAIL, NOT_RUN, PASS
from temport.exporter.parity.run import run_runtime
from temport.exporter.runtimes import RUNTIMES, runtime_named
from temport.exporter.runtimes.contract import Runtime
from temport.exporter.runtimes.subject import Subject

READ_NO_FILE = ("torch_float32",)
"""Runtimes of the torch source, to whom the ONNX file is nothing."""

every_runtime = pytest.mark.parametrize("name", [name for name in RUNTIMES if name != "native_engine"])
"""An engine has to be compiled first; tests/native_engine/test_engine_target.py asks its row the same."""


def usable(name: str, subject: Subject) -> Runtime | None:
    """The runtime where it can run the subject here; where it cannot, its row says why."""
    runtime = runtime_named(name)
    reason = runtime.unavailable() or runtime.capabilities.refusal(subject.declaration)
    if reason is None:
        return runtime
    row = run_runtime(subject, runtime, [])
    assert (row.verdict, row.reason) == (NOT_RUN, reason) and reason.strip()
    return None


@every_runtime
def test_right_numbers(name: str, subject: Subject, truths: tuple[Truth, ...]) -> None:
    if (runtime := usable(name, subject)) is not None:
        row = run_runtime(subject, runtime, truths)
        assert row.verdict == PASS, row
        assert row.name == name and row.path and row.version


@every_runtime
def test_outputs_are_as_declared_and_repeat(name: str, subject: Subject, cases: tuple[Case, ...]) -> None:
    """One session takes every case, gives the same twice, and leaves its inputs alone."""
    if (runtime := usable(name, subject)) is None:
        return
    (output,) = subject.declaration.outputs
    with runtime.open(subject) as session:
        for case in cases:
            before = {key: array.copy() for key, array in case.inputs.items()}
            first, second = session.run(case.inputs)["output"].copy(), session.run(case.inputs)["output"]
            assert first.shape == output.at(batch=len(case.inputs["state_sequence"]))
            assert first.dtype == output.dtype
            np.testing.assert_array_equal(first, second)
            for key, array in before.items():
                np.testing.assert_array_equal(case.inputs[key], array)


@every_runtime
def test_a_prepared_call_runs_the_model(name: str, subject: Subject, cases: tuple[Case, ...]) -> None:
    """What is timed is the model: it gives the same first output as `run`, in whatever kind of array."""
    if (runtime := usable(name, subject)) is None:
        return
    with runtime.open(subject) as session:
        inputs = {key: array.copy() for key, array in cases[0].inputs.items()}
        call = session.prepared(inputs)
        call()
        found = call()
        first = next(iter(found.values())) if isinstance(found, dict) else found
        np.testing.assert_allclose(np.asarray(first), session.run(cases[0].inputs)["output"], atol=1e-5)


@every_runtime
def test_another_weight_is_seen(
    name: str, tampered: Callable[[Callable[[onnx.ModelProto], None]], Subject], truths: tuple[Truth, ...]
) -> None:
    """It is the file that runs, and nothing kept from an earlier one."""

    def halve(model: onnx.ModelProto) -> None:
        largest = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
        halved = 0.5 * onnx.numpy_helper.to_array(largest)
        largest.CopyFrom(onnx.numpy_helper.from_array(halved, largest.name))

    other = tampered(halve)
    if (runtime := usable(name, other)) is not None:
        assert run_runtime(other, runtime, truths[:1]).verdict == (PASS if name in READ_NO_FILE else FAIL)


@every_runtime
def test_a_file_that_is_no_model_is_a_row(
    name: str, subject: Subject, truths: tuple[Truth, ...], tmp_path: Path
) -> None:
    (tmp_path / "model.onnx").write_bytes(b"not a model")
    wrong = replace(subject, model_path=tmp_path / "model.onnx")
    if name not in READ_NO_FILE and (runtime := usable(name, wrong)) is not None:
        row = run_runtime(wrong, runtime, truths[:1])
        assert row.verdict in (FAIL, NOT_RUN) and (row.reason or row.results)


@every_runtime
def test_a_wrong_input_is_an_error(name: str, subject: Subject, cases: tuple[Case, ...]) -> None:
    """One feature too many is refused, and the session still works."""
    if (runtime := usable(name, subject)) is None:
        return
    right = cases[0].inputs
    wide = np.concatenate([right["state_sequence"], right["state_sequence"][..., :1]], axis=-1)
    with runtime.open(subject) as session:
        with pytest.raises(Exception):  # noqa: B017  whatever it raises, its row fails
            session.run({"state_sequence": wide})
        assert np.isfinite(session.run(right)["output"]).all()


@every_runtime
def test_capabilities_are_kept(name: str, subject: Subject) -> None:
    """What the table excludes is refused before anything is opened."""
    capabilities = runtime_named(name).capabilities
    low, high = capabilities.opsets
    assert low <= subject.declaration.opset <= high
    assert "float32" in capabilities.dtypes
    assert capabilities.refusal(replace(subject.declaration, opset=high + 1)) is not None
    length = Axis("seq", 1, 2, 3)
    moving = replace(
        subject.declaration,
        inputs=tuple(replace(spec, shape=(length, *spec.shape[1:])) for spec in subject.declaration.inputs),
    )
    assert (capabilities.refusal(moving) is None) == capabilities.dynamic_axes
