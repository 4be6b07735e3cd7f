"""The native ops as ONNX nodes: which path runs, inferred shapes, threads, and errors that name the node."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from native_sessions import NODE, model, options, run, session
from onnx import helper

from temport.custom_ops.table import OPS

ATTENTION, LINEAR = "OnlineSoftmaxAttention", "BlockLinearAttention"
ATTRIBUTES: dict[str, dict[str, Any]] = {
    ATTENTION: {
        "num_heads": 2,
        "kv_num_heads": 2,
        "causal": 1,
        "window": 5,
        "query_offset": -1,
        "scale": 0.5,
    },
    LINEAR: {
        "num_heads": 2,
        "block_size": 4,
        "scale": 0.5,
        "feature_map": "elu1",
        "normalizer": "key_sum",
        "eps": 1e-8,
    },
}


def packed(T: int = 20, width: int = 24, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((2, T, width), dtype=np.float32)


@pytest.mark.parametrize("op", ATTRIBUTES)
def test_the_kernel_runs_over_a_wrong_body(op: str) -> None:
    """With the library the kernel is taken even where the function body says something else; without it, the body."""
    x = packed()
    proto = model(op, [x], ATTRIBUTES[op])
    schema = OPS[op].schema
    nodes = [
        helper.make_node("Constant", [], ["to"], value=onnx.numpy_helper.from_array(np.array([8]))),
        helper.make_node("Constant", [], ["zero"], value=onnx.numpy_helper.from_array(np.array([0]))),
        helper.make_node("Constant", [], ["axis"], value=onnx.numpy_helper.from_array(np.array([2]))),
        helper.make_node("Slice", ["Q", "zero", "to", "axis"], ["Y"]),
    ]
    proto.functions.append(
        helper.make_function(
            "temport",
            op,
            [p.name for p in schema.inputs],
            ["Y"],
            nodes,
            [helper.make_opsetid("", 18)],
            attributes=list(ATTRIBUTES[op]),
        )
    )
    truth = OPS[op].reference([x], ATTRIBUTES[op])
    native = session(proto).run(None, {"Q": x})[0]
    np.testing.assert_allclose(native, truth, rtol=0, atol=1e-5)
    body = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(body.run(None, {"Q": x})[0], x[..., :8])


@pytest.mark.parametrize("op", ATTRIBUTES)
def test_shapes_are_inferred(op: str) -> None:
    """A static model knows its output; a dynamic one keeps the names of its axes."""
    x = packed()
    proto = model(op, [x], ATTRIBUTES[op], static=True)
    assert session(proto).get_outputs()[0].shape == [2, 20, 8]
    dynamic = model(op, [x], ATTRIBUTES[op])
    dynamic.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 24
    assert session(dynamic).get_outputs()[0].shape == ["Q_0", "Q_1", 8]


@pytest.mark.parametrize("op", ATTRIBUTES)
def test_defaults_are_those_of_the_schema(op: str) -> None:
    """A node that leaves attributes out computes what the reference computes without them."""
    x = packed()
    bare = {k: ATTRIBUTES[op][k] for k in ("num_heads", "block_size") if k in ATTRIBUTES[op]}
    truth = OPS[op].reference([np.abs(x)], bare)
    np.testing.assert_allclose(run(op, [np.abs(x)], bare), truth, rtol=0, atol=1e-5)


@pytest.mark.parametrize("op", ATTRIBUTES)
def test_one_session_from_many_threads(op: str) -> None:
    inputs = [packed(T, seed=T) for T in range(1, 90, 7)]
    shared = session(model(op, inputs[:1], ATTRIBUTES[op]), threads=2)
    alone = [shared.run(None, {"Q": x})[0] for x in inputs]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda x: shared.run(None, {"Q": x})[0], inputs * 8))
    for one, other in zip(alone * 8, together, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("op", ATTRIBUTES)
def test_every_output_is_written(op: str) -> None:
    """The output buffer is poisoned with NaN before the run."""
    x = packed()
    proto = model(op, [x], ATTRIBUTES[op], static=True)
    del proto.graph.node[-1]
    proto.graph.node[0].output[0] = "Y"
    runner = session(proto)
    out = onnxruntime.OrtValue.ortvalue_from_numpy(np.full((2, 20, 8), np.nan, dtype=np.float32))
    binding = runner.io_binding()
    binding.bind_cpu_input("Q", x)
    binding.bind_ortvalue_output("Y", out)
    runner.run_with_iobinding(binding)
    np.testing.assert_allclose(out.numpy(), OPS[op].reference([x], ATTRIBUTES[op]), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("op", "change", "sentence"),
    [
        (ATTENTION, {"num_heads": 0}, "num_heads is 0; it must be at least 1"),
        (ATTENTION, {"num_heads": None}, "num_heads is missing"),
        (ATTENTION, {"num_heads": 2.0}, "num_heads must be an integer"),
        (ATTENTION, {"num_heads": 3}, "must divide num_heads = 3"),
        (ATTENTION, {"causal": 2}, "causal is 2; it must be 0 or 1"),
        (ATTENTION, {"window": -1}, "window is -1; it must be at least 0"),
        (ATTENTION, {"query_offset": -2}, "query_offset is -2; it must be at least -1"),
        (ATTENTION, {"scale": float("nan")}, "scale must be a finite number"),
        (ATTENTION, {"scale": 1}, "scale must be a float"),
        (LINEAR, {"block_size": 0}, "block_size is 0; it must be at least 1"),
        (LINEAR, {"block_size": None}, "block_size is missing"),
        (LINEAR, {"feature_map": "relu"}, "feature_map is 'relu'; it must be identity or elu1"),
        (LINEAR, {"normalizer": 1}, "normalizer must be a string"),
        (LINEAR, {"eps": 0.0}, "eps is 0.0"),
    ],
)
def test_a_bad_attribute_is_one_sentence(op: str, change: dict[str, Any], sentence: str) -> None:
    attributes = {k: v for k, v in {**ATTRIBUTES[op], **change}.items() if v is not None}
    with pytest.raises(Exception, match=sentence) as error:
        session(model(op, [packed()], attributes))
    assert NODE in str(error.value)


@pytest.mark.parametrize(
    ("op", "shapes", "sentence"),
    [
        (ATTENTION, [(2, 24)], r"Q has shape \[2, 24\]; it must have 3 axes"),
        (ATTENTION, [(2, 5, 23)], r"last axis of packed Q is 23; it must be a positive multiple of .* = 6"),
        (ATTENTION, [(2, 5, 8), (2, 5, 8), None], "K and V must both be given"),
        (ATTENTION, [(2, 5, 8), (2, 5, 6), (2, 5, 8)], "the head dim of Q is 4 but the head dim of K is 3"),
        (ATTENTION, [(2, 5, 8), (1, 5, 8), (1, 5, 8)], "the batch of Q is 2 but the batch of K is 1"),
        (ATTENTION, [(2, 5, 8), (2, 5, 8), (2, 6, 8)], "the length of K is 5 but the length of V is 6"),
        (ATTENTION, [(2, 5, 24), None, None, (2, 4)], r"key_mask has shape \[2, 4\]; it must be \[2, 5\]"),
        (ATTENTION, [(2, 5, 0)], "last axis of packed Q is 0"),
        (LINEAR, [(2, 5, 8), (2, 6, 8), (2, 6, 8)], "Q has 5 rows but K has 6"),
    ],
)
def test_a_bad_shape_is_one_sentence(op: str, shapes: list[Any], sentence: str) -> None:
    inputs = [None if s is None else np.zeros(s, dtype=bool if len(s) == 2 and i == 3 else np.float32)
              for i, s in enumerate(shapes)]  # fmt: skip
    with pytest.raises(Exception, match=sentence) as error:
        run(op, inputs, ATTRIBUTES[op])
    assert NODE in str(error.value)


def test_huge_attributes_do_not_overflow() -> None:
    x = packed()
    far = {**ATTRIBUTES[ATTENTION], "window": 2**62, "query_offset": 2**62}
    np.testing.assert_allclose(
        run(ATTENTION, [x], far), OPS[ATTENTION].reference([x], far), rtol=0, atol=1e-5
    )
    wide = {**ATTRIBUTES[LINEAR], "block_size": 2**62}
    np.testing.assert_allclose(run(LINEAR, [x], wide), OPS[LINEAR].reference([x], wide), rtol=0, atol=1e-5)


def test_two_sessions_share_the_library() -> None:
    x = packed()
    first = session(model(ATTENTION, [x], ATTRIBUTES[ATTENTION]))
    second = session(model(ATTENTION, [x], ATTRIBUTES[ATTENTION]))
    one = first.run(None, {"Q": x})[0]
    del first
    np.testing.assert_array_equal(second.run(None, {"Q": x})[0], one)
    assert options() is not None
