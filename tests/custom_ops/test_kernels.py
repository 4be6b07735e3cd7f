"""Every native kernel over the cases of its op's table: against the definition, in every type, however it is called."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
from case import Array, Case, OpCases
from cases import TABLES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from one_node import (
    NODE,
    bound_native,
    in_onnxruntime,
    model,
    native,
    native_options,
    native_session,
    open_shapes,
    run_session,
    session,
)
from onnx import helper

from temport.custom_ops.domain import VERSION

OPS = pytest.mark.parametrize("op", TABLES)
CASES = [(op, case) for op, table in TABLES.items() for case in table.cases]
Kernel = Callable[..., dict[str, Array]]


def wrong(table: OpCases, case: Case, got: Mapping[str, Array], dtype: str = "float32") -> dict[str, float]:
    """The outputs that are off by more than they may be."""
    excess = table.excess(got, case, dtype, table.roundings)
    return {name: times for name, times in excess.items() if not times <= 1}


def weights(table: OpCases, case: Case) -> list[str]:
    """The inputs that a model holds as constants where an op stands for a layer: all but the first."""
    return [name for name in case.inputs if name != table.inputs[0]] if table.op.torch_op is None else []


@pytest.mark.parametrize(("op", "case"), CASES, ids=str)
def test_the_kernel_is_the_definition(op: str, case: Case) -> None:
    """In every type; on two threads bit for bit the same as on one; weights as constants and as inputs."""
    table = TABLES[op]
    outputs = {dtype: native(table, case, dtype=dtype) for dtype in table.dtypes}
    for dtype, got in outputs.items():
        assert not wrong(table, case, got, dtype), dtype
    fixed = weights(table, case)
    again = [native(table, case, threads=2)]
    again += [native(table, case, constants=fixed)] if fixed else []
    for other in again:
        for name, y in outputs["float32"].items():
            np.testing.assert_array_equal(other[name], y)


def try_anywhere(table: OpCases, examples: int, kernels: Iterable[Kernel] = (native,)) -> None:
    """Cases of odd shapes, by kernels that are called as `native` is."""

    @settings(max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(
        case=table.anywhere,
        dtype=st.sampled_from(table.dtypes),
        threads=st.integers(1, 2),
        fixed=st.booleans(),
    )
    def check(case: Case, dtype: str, threads: int, fixed: bool) -> None:
        constants = weights(table, case) if fixed else ()
        for kernel in kernels:
            assert not wrong(
                table, case, kernel(table, case, threads, dtype=dtype, constants=constants), dtype
            )

    check()


@OPS
@pytest.mark.parametrize("part", [2, pytest.param(1, marks=pytest.mark.thorough)])
def test_the_kernel_anywhere(op: str, part: int) -> None:
    try_anywhere(TABLES[op], TABLES[op].examples // part)


@OPS
def test_a_wrong_kernel_is_seen(op: str) -> None:
    """The suite itself: one output off by a thousandth of the largest, one NaN, one of another shape."""
    table = TABLES[op]
    case = table.cases[0]
    got = native(table, case)
    assert not wrong(table, case, got)
    for name, y in got.items():
        y = y.copy()
        y.flat[y.size // 2] += 1e-3 * max(np.abs(y).max(), table.floor.get(name, 0))
        assert wrong(table, case, {**got, name: y}).keys() == {name}
        y.flat[0] = np.nan
        assert wrong(table, case, {**got, name: y}) == {name: np.inf}
        assert wrong(table, case, {**got, name: y[:0]}) == {name: np.inf}


@OPS
def test_the_kernel_runs_over_a_wrong_body(op: str) -> None:
    """With the library the kernel is taken even where the function body says something else; without it, the body."""
    table = TABLES[op]
    case = table.cases[0]
    proto = model(table, case)
    nodes = [helper.make_node("Constant", [], [name], value_float=7.0) for name in table.outputs]
    opsets = [helper.make_opsetid("", 20)]
    body = helper.make_function(
        table.op.domain, op, table.inputs, table.outputs, nodes, opsets, attributes=list(case.attributes)
    )
    proto.functions.append(body)
    assert not wrong(table, case, run_session(session(proto, native_options()), case))
    assert {float(y) for y in in_onnxruntime(proto, case).values()} == {7.0}


@pytest.mark.parametrize(("op", "case"), [(op, case) for op, case in CASES if case.forms], ids=str)
def test_shapes_are_inferred_by_the_library(op: str, case: Case) -> None:
    """A static model knows its outputs; a dynamic one keeps the names of its axes."""
    table = TABLES[op]
    if any(not x.ndim or 0 in x.shape for x in case.inputs.values()):
        return  # nothing is promised of these
    truths = table.truth(case)
    static = {o.name: o.shape for o in native_session(table, case).get_outputs()}
    assert static == {name: list(x.shape) for name, x in truths.items()}
    for output in native_session(table, case, shapes=open_shapes(table, case)).get_outputs():
        for named, size in zip(output.shape, truths[output.name].shape, strict=True):
            assert isinstance(named, str) or named == size


@OPS
def test_defaults_are_those_of_the_schema(op: str) -> None:
    """A node that leaves attributes out computes what the definition computes without them."""
    table = TABLES[op]
    case = table.cases[0]
    bare = {name: x for name, x in case.attributes.items() if table.op.schema.attributes[name].required}
    inputs = {name: np.abs(x) for name, x in case.inputs.items()}
    got, truths = native(table, Case(inputs, bare)), table.truth(Case(inputs, bare))
    for name, truth in truths.items():
        np.testing.assert_allclose(got[name], truth, rtol=0, atol=1e-5 * max(1.0, np.abs(truth).max()))


@OPS
def test_one_session_from_many_threads(op: str) -> None:
    """Runs of one session, whose nodes share scratch memory, do not meet."""
    table = TABLES[op]
    case = max(
        table.cases,
        key=lambda c: (
            sum(x.size for x in c.inputs.values()) if sum(x.size for x in c.inputs.values()) < 3e5 else 0
        ),
    )
    fixed = weights(table, case)
    shared = native_session(table, case, threads=2, constants=fixed)
    given_ = {name: x for name, x in case.inputs.items() if name not in fixed}
    feeds = [{n: x * (1 + i) if x.dtype == np.float32 else x for n, x in given_.items()} for i in range(4)]
    alone = [shared.run(None, feed) for feed in feeds]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda i: shared.run(None, feeds[i % 4]), range(32)))
    for i, outputs in enumerate(together):
        for y, expected in zip(outputs, alone[i % 4], strict=True):
            np.testing.assert_array_equal(y, expected)


@OPS
def test_every_output_is_written(op: str) -> None:
    """The output buffers are poisoned with NaN before the run."""
    table = TABLES[op]
    case = table.cases[0]
    poisoned = {
        name: onnxruntime.OrtValue.ortvalue_from_numpy(np.full(x.shape, np.nan, np.float32))
        for name, x in table.truth(case).items()
    }
    assert not wrong(table, case, bound_native(table, case, poisoned))


@OPS
def test_two_sessions_share_the_library(op: str) -> None:
    table = TABLES[op]
    case = table.cases[0]
    first, second = native_session(table, case), native_session(table, case)
    one = run_session(first, case)
    del first
    for name, y in run_session(second, case).items():
        np.testing.assert_array_equal(y, one[name])


@OPS
def test_other_types_are_refused(op: str) -> None:
    """The library has no kernel in double, and the sentence names the node."""
    table = TABLES[op]
    with pytest.raises(Exception, match=NODE):
        native_session(table, table.cases[0].rounded("float64"))


@OPS
def test_a_node_of_a_later_version_is_refused(op: str) -> None:
    """A kernel is not told of attributes that it does not know, so a node says when it needs a later library."""
    table = TABLES[op]
    case = table.cases[0]

    def of(version: int) -> Case:
        return replace(case, attributes={**case.attributes, "since_version": version})

    native_session(table, of(VERSION))
    told = f"{NODE}.*what version {VERSION + 1} of the domain temport says, and this library knows version {VERSION};"
    with pytest.raises(Exception, match=told):
        native_session(table, of(VERSION + 1))
