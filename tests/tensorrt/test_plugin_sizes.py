"""What the TensorRT plugin makes of attributes and shapes, against the checks that the definitions use."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from temport.custom_ops.block_linear_attention.attributes import BlockLinearAttributes
from temport.custom_ops.cuda import plugin_build
from temport.custom_ops.layout import read_layout
from temport.custom_ops.online_softmax_attention.attributes import OnlineSoftmaxAttributes
from tests.tensorrt.kept_build import keep

SOURCE = Path(__file__).with_name("plugin_sizes.cc")
INTEGERS = ("num_heads", "kv_num_heads", "causal", "window", "query_offset", "block_size")


@pytest.fixture(scope="module")
def library() -> ctypes.CDLL:
    folder = plugin_build.SOURCE.parent
    command = [
        "g++",
        "-std=c++17",
        "-O1",
        "-shared",
        "-fPIC",
        "-fsanitize=undefined",
        "-fno-sanitize-recover=all",
    ]
    key = b"\0".join(
        [SOURCE.read_bytes(), (folder / "plugin_sizes.h").read_bytes(), " ".join(command).encode()]
    )
    built = keep(key, lambda out: subprocess.run([*command, f"-I{folder}", SOURCE, "-o", out], check=True))
    found = ctypes.CDLL(str(built))
    found.sizes_fit.argtypes = [
        ctypes.c_int,
        ctypes.c_int64,
        ctypes.c_int64,
        ctypes.c_void_p,
        ctypes.c_void_p,
    ]
    found.sizes_fit.restype = found.attributes_sound.restype = ctypes.c_bool
    return found


def sizes(
    library: ctypes.CDLL, heads: int, kv_heads: int, shapes: Sequence[Sequence[int]]
) -> list[int] | None:
    flat = np.zeros((len(shapes), 5), np.int64)
    for row, shape in zip(flat, shapes, strict=True):
        row[0], row[1 : 1 + len(shape)] = len(shape), shape
    found = np.zeros(5, np.int64)
    fit = library.sizes_fit(len(shapes), heads, kv_heads, flat.ctypes.data, found.ctypes.data)
    return [int(n) for n in found] if fit else None


def defined(heads: int, kv_heads: int, shapes: Sequence[Sequence[int]]) -> list[int] | None:
    packed, masked = len(shapes) <= 2, len(shapes) % 2 == 0
    q, k, v = (shapes[0], None, None) if packed else shapes[:3]
    try:
        found = read_layout(
            "op", q, k, v, num_heads=heads, kv_num_heads=kv_heads, key_mask=shapes[-1] if masked else None
        )
    except (ValueError, ZeroDivisionError):
        return None
    return [found.batch, found.query_length, found.key_length, found.head_dim, found.value_dim]


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_shapes_are_read_as_the_definition_reads_them(library: ctypes.CDLL, data: Any) -> None:
    small = st.integers(0, 3)
    kv_heads = data.draw(small)
    heads, B, T, S, D, V = kv_heads * data.draw(small), *(data.draw(small) for _ in range(5))
    widths = (
        [(heads + 2 * kv_heads) * D] if data.draw(st.booleans()) else [heads * D, kv_heads * D, kv_heads * V]
    )
    shapes = [[B, T, widths[0]], *([B, S, width] for width in widths[1:])]
    if data.draw(st.booleans()):
        shapes.append([B, T if len(widths) == 1 else S])
    shape = shapes[data.draw(st.integers(0, len(shapes) - 1))]
    match data.draw(st.integers(0, 4)):
        case 0:
            shape[data.draw(st.integers(0, len(shape) - 1))] += data.draw(
                st.sampled_from([1, 3, 2**32, 2**62])
            )
        case 1:
            shape.append(1)
        case 2:
            shape.pop()
    wanted = defined(heads, kv_heads, shapes) if heads > 0 else None
    if wanted is not None and max(wanted[3:]) >= 2**31:
        wanted = None  # wider than a kernel's argument
    assert sizes(library, heads, kv_heads, shapes) == wanted


def test_no_head_divides_nothing_and_every_width_is_looked_at(library: ctypes.CDLL) -> None:
    assert sizes(library, 0, 0, [[1, 4, 8]]) is None
    assert sizes(library, 0, 0, [[1, 4, 8]] * 3) is None
    assert sizes(library, 2, 2, [[1, 4, 8], [1, 4, 8], [1, 4, 6]]) == [1, 4, 4, 4, 3]
    assert (
        sizes(library, 2, 2, [[1, 4, 8], [1, 4, 6], [1, 4, 6]]) is None
    )  # the keys are narrower than the queries
    assert sizes(library, 1, 1, [[1, 4, 2**32 + 8]] * 3) is None  # 8, cut to 32 bits


@pytest.mark.parametrize("name", [*INTEGERS, "scale", "eps", "feature_map", "normalizer"])
def test_attributes_are_those_of_the_ops(library: ctypes.CDLL, name: str) -> None:
    """Each at good and bad values, the others as they are by default; either op may refuse it."""
    good: dict[str, Any] = {n: 0 for n in INTEGERS} | {"num_heads": 4, "kv_num_heads": 2, "block_size": 3}
    good |= {"scale": 0.5, "eps": 1e-8, "feature_map": "elu1", "normalizer": "none"}
    texts, floats = ("elu1", "none", "", "relu"), (0.0, -1.0, float("nan"), float("inf"), 1e-8)
    for value in (
        texts if isinstance(good[name], str) else floats if isinstance(good[name], float) else range(-3, 9)
    ):
        a = {**good, name: value}
        integers = (ctypes.c_int32 * 6)(*(a[n] for n in INTEGERS))
        numbers = (ctypes.c_float * 2)(a["scale"], a["eps"])
        sound = library.attributes_sound(
            integers, numbers, a["feature_map"].encode(), a["normalizer"].encode()
        )
        try:
            softmax = ("num_heads", "kv_num_heads", "causal", "window", "query_offset", "scale")
            OnlineSoftmaxAttributes.parse({n: a[n] for n in softmax})
            linear = ("num_heads", "block_size", "scale", "feature_map", "normalizer", "eps")
            BlockLinearAttributes.parse({n: a[n] for n in linear})
        except ValueError:
            assert not sound, value
        else:
            assert sound, value
