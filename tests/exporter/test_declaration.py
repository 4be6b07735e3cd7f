"""Axes and declarations: what is accepted, what is refused, and that JSON keeps everything."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from temport.exporter.declare.declaration import Axis, Declaration, TensorSpec
from temport.exporter.errors import UserError

sizes = st.integers(1, 4096)


def declaration(batch: Axis, seq: Axis) -> Declaration:
    inputs = (TensorSpec("state_sequence", "float32", (batch, seq, 24)),)
    outputs = (TensorSpec("output", "float32", (batch, 32)),)
    return Declaration("mega", {"hidden_size": 32, "mlp_sizes": (8, 8)}, inputs, outputs)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("60", (60, 60, 60)), ("1:8:64", (1, 8, 64)), ("dynamic", (1, 60, 1024)), ("7:7:7", (7, 7, 7))],
)
def test_axis_forms(text: str, expected: tuple[int, int, int]) -> None:
    axis = Axis.parse("seq", text, (1, 60, 1024))
    assert (axis.min, axis.opt, axis.max) == expected
    assert axis.static == (expected[0] == expected[2])


@pytest.mark.parametrize(
    "text", ["0", "-1", "", "1:2", "8:4:64", "64:8:1", "1.5", "sixty", "1:2:3:4", "0:1:2"]
)
def test_axis_refuses(text: str) -> None:
    with pytest.raises(UserError, match="seq"):
        Axis.parse("seq", text, (1, 60, 1024))


@given(low=sizes, middle=sizes, high=sizes)
def test_axis_accepts_exactly_ordered_bounds(low: int, middle: int, high: int) -> None:
    text = f"{low}:{middle}:{high}"
    if low <= middle <= high:
        assert str(Axis.parse("batch", text, (1, 8, 64))) == (str(low) if low == high else text)
    else:
        with pytest.raises(UserError, match="min <= opt <= max"):
            Axis.parse("batch", text, (1, 8, 64))


def test_everything_derives_from_the_declaration() -> None:
    batch, seq = Axis("batch", 1, 8, 64), Axis("seq", 60, 60, 60)
    d = declaration(batch, seq)
    assert d.axes == {"batch": batch, "seq": seq}
    assert d.inputs[0].onnx_shape() == ["batch", 60, 24]
    assert d.inputs[0].at() == (8, 60, 24)
    assert d.inputs[0].at(batch=3) == (3, 60, 24)


def test_json_round_trip() -> None:
    import json

    d = declaration(Axis("batch", 1, 8, 64), Axis("seq", 1, 60, 1024))
    again = Declaration.from_json(json.loads(json.dumps(d.to_json())))
    assert again.inputs == d.inputs and again.axes == d.axes
    assert json.dumps(again.to_json(), sort_keys=True) == json.dumps(d.to_json(), sort_keys=True)


def test_numbers_in_words() -> None:
    plain = Declaration("module", {}, (), (), precision="float16")
    assert plain.numbers == "float16"
    fewer = replace(plain, precision="float32", weights_dtype="int8", input_scales={"layer": 4.0})
    assert fewer.numbers == "float32, weights in int8, inputs of layers in int8"
    assert replace(fewer, kv_dtype="fp16").numbers == f"{fewer.numbers}, keys and values in fp16"
    assert (
        replace(plain, kv_dtype="fp16").to_json()["kv_dtype"] == "fp16" and "kv_dtype" not in plain.to_json()
    )
