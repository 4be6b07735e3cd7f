"""The attention that TensorRT gets computes what the float64 reference computes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator

from temport.custom_ops.online_softmax_attention.reference import reference
from temport.exporter.compilers.compile import lower
from temport.exporter.compilers.contract import Backend, CompileError
from temport.exporter.compilers.tensorrt_rtx import BACKEND
from temport.exporter.compilers.verify import check_mask_constants
from tests.tensorrt.models import AttentionCase, attention_model, declaration

CASES = [
    AttentionCase(),
    AttentionCase(causal=True),
    AttentionCase(window=7),
    AttentionCase(window=200),
    AttentionCase(query_length=1, causal=True),
    AttentionCase(query_length=1, window=60),
    AttentionCase(query_length=5, key_length=3, causal=True),
    AttentionCase(query_length=9, key_length=33, window=4),
    AttentionCase(query_length=9, key_length=33, window=4, query_offset=0),
    AttentionCase(query_length=40, key_length=33, window=4, query_offset=0),
    AttentionCase(heads=4, kv_heads=2, packed=True, window=5),
    AttentionCase(batch=1, heads=1, kv_heads=1, causal=True),
    AttentionCase(batch=1, heads=1, kv_heads=1, packed=True, window=7),
    AttentionCase(batch=1, heads=1, kv_heads=1, query_length=5, key_length=9, causal=True),
    AttentionCase(batch=1, heads=1, kv_heads=1, query_length=6, key_length=4, causal=True),
    AttentionCase(query_length=1, heads=3, kv_heads=1, batch=1, window=9),
    AttentionCase(query_length=1, heads=2, kv_heads=1, batch=1, key_mask=True, packed=False),
    AttentionCase(key_mask=True),
    AttentionCase(key_mask=True, causal=True),
    AttentionCase(value_dim=10),
    AttentionCase(value_dim=80, causal=True, head_dim=16, scale=1.2),
    AttentionCase(value_dim=10, scale=-0.3, window=9),
    AttentionCase(value_dim=10, window=7, key_mask=True, query_length=9, key_length=33),
    AttentionCase(value_dim=41, head_dim=19, heads=6, kv_heads=2, window=5),
    AttentionCase(
        value_dim=41, heads=6, kv_heads=2, query_length=7, key_length=5, causal=True, key_mask=True
    ),
    AttentionCase(value_dim=10, heads=4, kv_heads=1, query_length=1, window=9),
    AttentionCase(value_dim=10, heads=2, kv_heads=1, batch=1, query_length=1, key_mask=True),
    AttentionCase(value_dim=80, batch=1, heads=1, kv_heads=1, window=7),
    AttentionCase(value_dim=10, batch=1, heads=1, kv_heads=1, query_length=5, key_length=9, causal=True),
    AttentionCase(key_mask=True, query_length=9, key_length=33, window=4),
]


def run(
    case: AttentionCase,
    lengths: tuple[int, int] | None = None,
    flip_mask: bool = False,
    backend: Backend = BACKEND,
) -> float:
    """Largest error of the lowered model against the reference, at `lengths` if given."""
    model = ir.from_proto(attention_model(case))
    masks = lower(model, declaration(case), backend).masks
    check_mask_constants(model, masks)
    if flip_mask:
        value = next(v for name, v in model.graph.initializers.items() if name.startswith("mask_"))
        assert value.const_value is not None
        value.const_value = ir.tensor(np.roll(value.const_value.numpy(), 1, axis=-1), name=value.name)
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    at = replace(case, query_length=lengths[0], key_length=lengths[1], batch=3) if lengths else case
    feeds = {
        name: array if array.dtype == bool else array.astype(case.element_type)
        for name, array in at.inputs().items()
    }
    # ONNX Runtime's Attention does not broadcast a mask over the queries, which ONNX and TensorRT do
    (y,) = ReferenceEvaluator(proto).run(None, feeds)
    truth = reference([feeds.get(n) for n in ("q", "k", "v", "key_mask")], case.attributes)
    return float(np.abs(y - truth).max())


BOUND = 64 * np.finfo(np.float32).eps
"""Values are of size 1 and sums have at most 66 terms."""


TAKES_FLOAT32 = replace(BACKEND, fused_types=frozenset({"FLOAT"}))


@pytest.mark.parametrize("backend", [BACKEND, TAKES_FLOAT32], ids=["decomposed", "fused"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_static(case: AttentionCase, backend: Backend) -> None:
    """Both lowerings, also the one for fused kernels, without the rounding of a half type."""
    assert run(case, backend=backend) <= BOUND


@pytest.mark.parametrize(
    "case",
    [
        AttentionCase(value_dim=10, window=7),
        AttentionCase(value_dim=80, causal=True, key_mask=True),
        AttentionCase(value_dim=264, window=7, heads=4),
        AttentionCase(value_dim=10, heads=3, kv_heads=1, batch=1, query_length=1, key_length=33),
    ],
    ids=str,
)
def test_other_value_width_in_float16(case: AttentionCase) -> None:
    """Padded for the kernel, as products, and one row."""
    assert run(replace(case, element_type="float16")) <= 8 * np.finfo(np.float16).eps


@pytest.mark.parametrize("lengths", [(1, 1), (7, 7), (60, 60), (119, 119)], ids=lambda n: f"T{n[0]}")
@pytest.mark.parametrize(
    "case",
    [
        AttentionCase(dynamic=True, causal=True),
        AttentionCase(dynamic=True, window=9),
        AttentionCase(dynamic=True, window=9, value_dim=10, heads=4, key_mask=True),
        AttentionCase(dynamic=True, causal=True, value_dim=80),
    ],
    ids=str,
)
@pytest.mark.parametrize("backend", [BACKEND, TAKES_FLOAT32], ids=["decomposed", "fused"])
def test_dynamic_length(case: AttentionCase, lengths: tuple[int, int], backend: Backend) -> None:
    assert run(case, lengths, backend=backend) <= BOUND


@pytest.mark.parametrize("lengths", [(1, 33), (9, 5), (17, 66), (9, 1)], ids=lambda n: f"T{n[0]}-S{n[1]}")
@pytest.mark.parametrize("offset", [-1, 0], ids=["end", "start"])
@pytest.mark.parametrize("key_mask", [False, True], ids=["", "key_mask"])
def test_dynamic_cross_lengths(lengths: tuple[int, int], offset: int, key_mask: bool) -> None:
    case = AttentionCase(
        query_length=9, key_length=33, window=6, query_offset=offset, dynamic=True, key_mask=key_mask
    )
    assert run(case, lengths) <= BOUND


@settings(max_examples=25, deadline=None)
@given(
    T=st.integers(1, 20),
    S=st.integers(1, 20),
    causal=st.booleans(),
    window=st.integers(0, 24),
    offset=st.integers(-1, 6),
    key_mask=st.booleans(),
    value_dim=st.sampled_from([None, 3, 24]),
)
def test_any_rule(
    T: int, S: int, causal: bool, window: int, offset: int, key_mask: bool, value_dim: int | None
) -> None:
    case = AttentionCase(
        query_length=T, key_length=S, head_dim=16, causal=causal, window=window, query_offset=offset,
        key_mask=key_mask, value_dim=value_dim,
    )  # fmt: skip
    assert run(case) <= BOUND


@pytest.mark.parametrize(
    ("case", "why"),
    [
        (AttentionCase(element_type="float16"), ""),
        (AttentionCase(), "no fused kernel for float32; --precision fp16 or bf16 has one"),
        (AttentionCase(element_type="float16", head_dim=8), "head dim 8 is outside 16 to 256"),
        (AttentionCase(element_type="float16", value_dim=264), "head dim 264 is outside 16 to 256"),
        (AttentionCase(element_type="float16", value_dim=10), ""),
        (AttentionCase(element_type="float16", value_dim=80, key_mask=True), ""),
        (AttentionCase(value_dim=10), "no fused kernel for float32"),
        (
            AttentionCase(element_type="float16", batch=1, query_length=1, heads=3, kv_heads=3),
            "a single query row",
        ),
        (AttentionCase(element_type="float16", batch=2, query_length=1), ""),
        (AttentionCase(element_type="float16", batch=1, heads=1, kv_heads=1), ""),
        (
            AttentionCase(element_type="float16", batch=1, heads=1, kv_heads=1, query_length=5),
            "an even, fixed",
        ),
        (
            AttentionCase(element_type="float16", batch=1, heads=1, kv_heads=1, key_mask=True),
            "an even, fixed",
        ),
    ],
)
def test_what_is_decomposed_says_why(case: AttentionCase, why: str) -> None:
    (entry,) = lower(ir.from_proto(attention_model(case)), declaration(case), BACKEND).attention
    assert entry.form == ("decomposed" if why else "fused") and why in entry.why


def test_shifted_mask_is_seen() -> None:
    assert run(AttentionCase(window=7), flip_mask=True) > BOUND


def test_altered_mask_constant_is_refused() -> None:
    model = ir.from_proto(attention_model(AttentionCase(window=7)))
    masks = lower(model, declaration(AttentionCase(window=7)), BACKEND).masks
    value = model.graph.initializers[masks[0].name]
    assert value.const_value is not None
    value.const_value = ir.tensor(np.roll(value.const_value.numpy(), 1, axis=-1), name=value.name)
    with pytest.raises(CompileError, match="differs from MaskRule"):
        check_mask_constants(model, masks)


@pytest.mark.parametrize("window", [7, 60, 99], ids=lambda w: f"W{w}")
def test_layers_share_one_mask(window: int) -> None:
    """Also where another rule says the same at these lengths: a window of 60 or 99 keys, and plain causal."""
    proto = attention_model(AttentionCase(window=7) if window == 7 else AttentionCase(causal=True))
    second = onnx.NodeProto()
    second.CopyFrom(attention_model(AttentionCase(window=window)).graph.node[0])
    second.name, second.output[0] = "attention2", "y2"
    proto.graph.node.append(second)
    proto.graph.output.append(onnx.helper.make_tensor_value_info("y2", 1, [2, 60, 64]))
    model = ir.from_proto(proto)
    lowered = lower(model, declaration(AttentionCase(window=7)), BACKEND)
    assert [entry.node for entry in lowered.attention] == ["attention", "attention2"]
    assert len(lowered.masks) == 1
    assert sum(name.startswith("mask_") for name in model.graph.initializers) == 1


@pytest.mark.parametrize("element_type", ["float16", "bfloat16"])
def test_products_take_the_softmax_in_float32(element_type: str) -> None:
    """A half type would round the weights before they are summed. No kernel is 264 wide."""
    case = AttentionCase(value_dim=264, element_type=element_type)
    model = ir.from_proto(attention_model(case))
    lower(model, declaration(case), BACKEND)
    inferred = onnx.shape_inference.infer_shapes(ir.to_proto(model), strict_mode=True).graph
    (softmax,) = [node for node in inferred.node if node.op_type == "Softmax"]
    kinds = {value.name: value.type.tensor_type.elem_type for value in inferred.value_info}
    assert kinds[softmax.input[0]] == kinds[softmax.output[0]] == onnx.TensorProto.FLOAT


@pytest.mark.parametrize("scale", [0.0, 1e-9, 0.1, 0.25])
def test_scale_of_products_in_float16_loses_nothing(scale: float) -> None:
    """Also where float16 cannot hold it."""
    case = AttentionCase(value_dim=264, element_type="float16", scale=scale, window=7)
    assert run(case) <= 8 * np.finfo(np.float16).eps
