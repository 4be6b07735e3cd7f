"""Generated cases cover what a declaration leaves open; files that do not fit get one clear sentence."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from temport.exporter.declare.declaration import Axis, Declaration, TensorSpec
from temport.exporter.errors import UserError
from temport.exporter.parity.cases import DISTRIBUTIONS, default_cases
from temport.exporter.parity.files import read_case


def declaration(batch: Axis, seq: Axis, memory: Axis | None = None) -> Declaration:
    inputs = [TensorSpec("state_sequence", "float32", (batch, seq, 3))]
    if memory is not None:
        inputs = [
            TensorSpec("query", "float32", (batch, seq, 3)),
            TensorSpec("key", "float32", (batch, memory, 3)),
            TensorSpec("mask", "bool", (batch, 1, 1, memory)),
        ]
    return Declaration("module", {}, tuple(inputs), (TensorSpec("output", "float32", (batch, 3)),))


def axes(name: str) -> st.SearchStrategy[Axis]:
    return st.lists(st.integers(1, 80), min_size=3, max_size=3).map(lambda n: Axis(name, *sorted(n)))


STATIC = declaration(Axis("batch", 1, 1, 1), Axis("seq", 4, 4, 4))
DYNAMIC = declaration(Axis("batch", 1, 8, 64), Axis("seq", 1, 60, 100))
MASKED = declaration(Axis("batch", 1, 8, 64), Axis("seq", 1, 60, 100), Axis("memory", 1, 60, 100))


@settings(max_examples=40, deadline=None)
@given(axes("batch"), axes("seq"), st.none() | axes("memory"))
def test_every_case_fits_the_declaration(batch, seq, memory):
    declared = declaration(batch, seq, memory)
    cases = default_cases(declared)
    assert len({case.name for case in cases}) == len(cases)
    assert {case.kind for case in cases} == set(DISTRIBUTIONS)
    for case in cases:
        sizes: dict[str, set[int]] = {}
        for spec in declared.inputs:
            array = case.inputs[spec.name]
            assert array.dtype == spec.dtype
            assert array.flags.c_contiguous  # other programs read the recorded inputs, row by row
            for dim, size in zip(spec.shape, array.shape, strict=True):
                if isinstance(dim, Axis):
                    assert dim.min <= size <= dim.max
                    sizes.setdefault(dim.name, set()).add(size)
                else:
                    assert size == dim
        assert all(len(seen) == 1 for seen in sizes.values())


def test_open_axes_take_sizes_unlike_the_example():
    shapes = [case.inputs["state_sequence"].shape for case in default_cases(DYNAMIC)]
    assert {b for b, _, _ in shapes} >= {1, 3, 5, 8}
    assert {t for _, t, _ in shapes} >= {1, 7, 37, 60, 61, 100}


def test_query_and_memory_lengths_differ():
    lengths = [(c.inputs["query"].shape[1], c.inputs["key"].shape[1]) for c in default_cases(MASKED)]
    assert any(t > s for t, s in lengths) and any(t < s for t, s in lengths)


def test_masks_include_all_true_and_an_empty_row():
    masks = [case.inputs["mask"] for case in default_cases(MASKED)]
    assert any(mask.all() for mask in masks)
    assert any(not mask[0].any() and mask[1:].any() for mask in masks)
    assert any(mask.any() and not mask.all() for mask in masks)


def test_distributions_are_what_they_say():
    cases = {case.kind: case.inputs["state_sequence"] for case in default_cases(STATIC)}
    assert 100 < np.abs(cases["large"]).max() < 1000
    assert np.abs(cases["tiny"]).max() < 1e-5
    assert np.all(cases["constant"] == cases["constant"][:, :1])
    frames, count = np.unique(cases["peaked"][0], axis=0, return_counts=True)
    assert len(frames) < count.sum() and np.ptp(frames, axis=0).max() > 10
    steps = np.diff(cases["ramp"], axis=1)
    assert np.allclose(steps, steps[:, :1], rtol=1e-5)


def test_cases_repeat_and_follow_the_seed():
    first, again = (default_cases(DYNAMIC)[0].inputs["state_sequence"] for _ in range(2))
    assert np.array_equal(first, again)
    other = Declaration(**{**DYNAMIC.__dict__, "seed": 1})
    assert not np.array_equal(first, default_cases(other)[0].inputs["state_sequence"])


def test_integer_inputs_are_refused():
    declared = Declaration("module", {}, (TensorSpec("x", "int64", (2,)),), ())
    with pytest.raises(UserError, match="x is int64"):
        default_cases(declared)


GOOD = np.arange(12, dtype=np.float64).reshape(1, 4, 3)


def write(path: Path, content: object) -> Path:
    if isinstance(content, str):
        path.write_text(content)
    elif isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, dict):
        np.savez(path, **content)
    else:
        np.save(path, content, allow_pickle=True)
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.npy", GOOD),
        ("a.npy", GOOD.astype(np.int32)),
        ("a.npy", np.asfortranarray(GOOD)),
        ("a.npz", {"state_sequence": GOOD}),
        ("a.csv", "0,1,2\n3,4,5\n6,7,8\n9,10,11\n"),
        ("a.csv", "\ufefftime,left,right\r\n0,1,2\r\n3,4,5\r\n\r\n6,7,8\r\n9, 10,11"),
        ("A.CSV", "0,1e0,2\n3,4,5\n6,7,8\n9,10,11\n"),
    ],
)
def test_files_that_fit(tmp_path, name, content):
    case = read_case(write(tmp_path / name, content), STATIC)
    assert case.kind == "real"
    assert case.inputs["state_sequence"].dtype == np.float32
    assert case.inputs["state_sequence"].flags.c_contiguous
    assert np.array_equal(case.inputs["state_sequence"], GOOD)


def pickled() -> bytes:
    buffer = io.BytesIO()
    pickle.dump(GOOD, buffer)
    return buffer.getvalue()


def npy() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, GOOD)
    return buffer.getvalue()


def truncated_npz() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, state_sequence=GOOD)
    return buffer.getvalue()[:-40]


def with_value(value: float) -> np.ndarray:
    array = GOOD.copy()
    array[0, 2, 1] = value
    return array


BAD = {
    "unknown-suffix": ("a.txt", "1", "no .npz, .npy or .csv"),
    "npy-nan": ("a.npy", with_value(np.nan), r"state_sequence\[0, 2, 1\] is nan"),
    "npy-inf": ("a.npy", with_value(-np.inf), r"\[0, 2, 1\] is -inf"),
    "npy-float32-overflow": ("a.npy", with_value(1e300), "finite float32"),
    "npy-shape": ("a.npy", GOOD[:, :3], "1 x 3 x 3; the model takes 1 x 4 x 3"),
    "npy-rank": ("a.npy", GOOD[0], "4 x 3; the model takes 1 x 4 x 3"),
    "npy-scalar": ("a.npy", np.float64(1), "a scalar"),
    "npy-objects": ("a.npy", np.array([{}], dtype=object), "pickled"),
    "npy-pickle": ("a.npy", pickled(), "pickled"),
    "npz-text": ("a.npz", b"hello\n", "is called .npz and is no such file"),
    "npy-complex": ("a.npy", GOOD + 1j, "complex128"),
    "npy-bool": ("a.npy", GOOD > 0, "bool; the model takes float32"),
    "npy-empty": ("a.npy", b"", "cannot be read"),
    "npy-claims-terabytes": (
        "a.npy",
        npy().replace(b"(1, 4, 3), }" + b" " * 11, b"(1, 4, 3" + b"0" * 11 + b"), }"),
        "cannot be read",
    ),
    "npy-truncated": ("a.npy", b"\x93NUMPY\x01\x00v\x00{'descr'", "cannot be read"),
    "npy-is-npz": ("a.npy", truncated_npz(), "cannot be read"),
    "npz-wrong-name": ("a.npz", {"x": GOOD}, "holds x; the model's inputs are state_sequence"),
    "npz-extra-name": ("a.npz", {"state_sequence": GOOD, "x": GOOD}, "holds state_sequence, x"),
    "npz-is-npy": ("a.npz", npy(), "name it .npy"),
    "npz-truncated": ("a.npz", truncated_npz(), "cannot be read"),
    "npz-objects": ("a.npz", {"state_sequence": np.array([{}], dtype=object)}, "pickled"),
    "csv-empty": ("a.csv", "", "no rows of numbers"),
    "csv-header-only": ("a.csv", "a,b,c\n", "no rows of numbers"),
    "csv-ragged": ("a.csv", "1,2,3\n4,5\n", "line 2 has 2 columns, the lines above have 3"),
    "csv-text": ("a.csv", "a,b,c\n1,2,3\n4,x,6\n", "line 3: 'x' is no number"),
    "csv-nan": ("a.csv", "1,2,3\n4,nan,6\n1,2,3\n1,2,3\n", r"state_sequence\[0, 1, 1\] is nan"),
    "csv-binary": ("a.csv", b"\xff\xfe\x00\x01", "no csv text"),
    "csv-too-short": ("a.csv", "1,2,3\n", "1 x 1 x 3; the model takes 1 x 4 x 3"),
}


@pytest.mark.parametrize("bad", BAD)
def test_files_that_do_not_fit(tmp_path, bad):
    name, content, sentence = BAD[bad]
    with pytest.raises(UserError, match=sentence) as error:
        read_case(write(tmp_path / name, content), STATIC)
    assert "\n" not in str(error.value)


def test_file_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        read_case(tmp_path / "a.npy", STATIC)


def test_one_array_for_several_inputs_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"query, key, mask; give an \.npz"):
        read_case(write(tmp_path / "a.npy", GOOD), MASKED)


def test_inputs_of_a_file_agree_on_shared_axes(tmp_path):
    inputs = {"query": np.zeros((2, 5, 3)), "key": np.zeros((2, 7, 3)), "mask": np.ones((2, 1, 1, 6), bool)}
    with pytest.raises(UserError, match="memory is 7 in key and 6 in mask"):
        read_case(write(tmp_path / "a.npz", inputs), MASKED)
    inputs["mask"] = np.ones((2, 1, 1, 7), bool)
    assert read_case(write(tmp_path / "a.npz", inputs), MASKED).shapes()["mask"] == (2, 1, 1, 7)
