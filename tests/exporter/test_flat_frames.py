"""Step models hand their attention rows: no reshape is left inside, and every output is the same."""

from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest

from temport.custom_ops.library import library_path
from temport.exporter.graph.body_domains import spread
from temport.exporter.passes.flat_frames import flat_frames
from tests.small_models import SMALL
from tests.traces import build

FRAMES = 11


def stream(model: ir.Model, batch: int, native: bool) -> list[list[np.ndarray]]:
    """What every frame gives, states included."""
    proto = ir.to_proto(model)
    spread(proto)
    options = onnxruntime.SessionOptions()
    if native:
        options.register_custom_ops_library(str(library_path()))
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options)
    frame, *states = session.get_inputs()
    kinds = {"tensor(float)": np.float32, "tensor(int64)": np.int64}
    state = [np.zeros([batch, *v.shape[1:]], kinds[v.type]) for v in states]
    random, every = np.random.default_rng(4), []
    for _ in range(FRAMES):
        x = random.standard_normal([batch, *frame.shape[1:]]).astype(np.float32)
        y, *state = session.run(
            None, {frame.name: x, **dict(zip([v.name for v in states], state, strict=True))}
        )
        every.append([y, *state])
    return every


@pytest.mark.parametrize(
    ("name", "batch"),
    [
        ("sliding_window", "1"),
        ("sliding_window", "dynamic"),
        ("lightning-elu1", "dynamic"),
        pytest.param("lightning-elu1", "1", marks=pytest.mark.thorough),
        pytest.param("mega-softmax", "1", marks=pytest.mark.thorough),
        pytest.param("mega-softmax", "dynamic", marks=pytest.mark.thorough),
    ],
)
def test_the_same_stream_without_reshapes(name: str, batch: str) -> None:
    declaration, module = SMALL[name].declare_stream(batch=batch, seq="5")
    rows = build(module, declaration)
    frames = build(module, replace(declaration, without=("flat_frames",)))
    attentions = sum(count for op, count in rows.op_counts["exported"].items() if "Cached" in op)
    assert attentions == 2
    assert rows.op_counts["exported"]["Reshape"] == 1  # of the frame that comes in
    assert frames.op_counts["exported"]["Reshape"] >= 1 + 2 * attentions
    assert sum(rows.flops["exported"].values()) == sum(frames.flops["exported"].values())
    for native in (False, True):
        got, truth = (stream(built.model, 3 if batch == "dynamic" else 1, native) for built in (rows, frames))
        for mine, theirs in zip(got, truth, strict=True):
            for x, expected in zip(mine, theirs, strict=True):
                assert x.shape == expected.shape
                np.testing.assert_allclose(x, expected, rtol=0, atol=1e-5 * max(1.0, np.abs(expected).max()))


ROW, FRAME, AWAY = "q = Reshape(row, frame)", "r = Reshape(y, back)", "r = Reshape(y, apart)"
NODE = "y, nk, nv = temport.CachedAttention<num_heads = 2, scale = 0.5>(q, keys, values, frames)"


def graph(body: str) -> ir.Model:
    proto = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 18, "temport" : 1]> g (float[batch, 12] row, float[batch, 1, 12] other, '
        "float[batch, 5, 4] keys, float[batch, 5, 4] values, int64[batch, 1] frames) => "
        f"(float[batch, 4] z, float[batch, 5, 4] nk, float[batch, 5, 4] nv) <int64[3] frame = {{-1, 1, 12}}, "
        "int64[2] flat = {-1, 12}, int64[3] apart = {-1, 1, 4}, "
        f"int64[2] back = {{-1, 4}}, int64[2] two = {{-1, 2}}, int64[1] one = {{1}}> {{ {body} }}"
    )
    return ir.from_proto(onnx.shape_inference.infer_shapes(proto))


@pytest.mark.parametrize(
    ("body", "ops"),
    [
        (f"{ROW}  {NODE}  {FRAME}  z = Neg(r)", "CachedAttention Neg"),
        (f"{ROW}  {NODE}  {FRAME}  s = Reshape(y, back)  z = Add(r, s)", "CachedAttention Add"),
        (f"{ROW}  {NODE}  {FRAME}  n = Neg(q)  z = Add(r, r)", "CachedAttention Add"),
    ],
)
def test_taken(body: str, ops: str) -> None:
    body = body.replace("CachedAttention<num_heads = 2", "CachedAttention<num_heads = 1")
    model = graph(body)
    assert flat_frames(model)
    assert [node.op_type for node in model.graph] == ops.split()
    onnx.checker.check_model(ir.to_proto(model), full_check=True)


@pytest.mark.parametrize(
    "body",
    [
        f"{NODE.replace('(q,', '(other,')}  {FRAME}  z = Neg(r)",
        f"{ROW}  {NODE}  n = Neg(y)  z = Squeeze(n, one)",
        f"{ROW}  {NODE}  {FRAME}  n = Neg(y)  s = Squeeze(n, one)  z = Add(r, s)",
        f"q = Reshape(other, flat)  {NODE}  {AWAY}  n = Neg(r)  z = Squeeze(n, one)",
        f"{ROW}  {NODE}  t = Reshape(y, apart)  n = Neg(t)  z = Reshape(n, back)",
    ],
    ids=[
        "made on three axes",
        "taken on three axes",
        "taken both ways",
        "a row of a frame",
        "a frame of a frame",
    ],
)
def test_left_alone(body: str) -> None:
    assert not flat_frames(graph(body))
