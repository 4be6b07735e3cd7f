"""Bad attributes and shapes: one sentence that names the op, from the reference, the torch op and the body alike."""

import numpy as np
import pytest
import torch

from temport.custom_ops.block_linear_attention import block_linear_attention
from temport.custom_ops.online_softmax_attention import online_softmax_attention
from temport.custom_ops.op import Specialisation
from temport.custom_ops.table import OPS

SOFTMAX = {"num_heads": 2, "kv_num_heads": 2, "causal": 0, "window": 0, "query_offset": -1, "scale": 0.5}
LINEAR = {
    "num_heads": 2,
    "block_size": 4,
    "scale": 0.5,
    "feature_map": "elu1",
    "normalizer": "key_sum",
    "eps": 1e-8,
}
BAD_SOFTMAX = [
    ("num_heads", 0),
    ("num_heads", True),
    ("kv_num_heads", 3),
    ("causal", 2),
    ("window", -1),
    ("query_offset", -2),
    ("scale", float("nan")),
]
BAD_LINEAR = [
    ("block_size", 0),
    ("scale", float("inf")),
    ("feature_map", "relu"),
    ("normalizer", "sum"),
    ("eps", 0.0),
]
CASES = [("OnlineSoftmaxAttention", SOFTMAX, *bad) for bad in BAD_SOFTMAX]
CASES += [("BlockLinearAttention", LINEAR, *bad) for bad in BAD_LINEAR]
TORCH = {"OnlineSoftmaxAttention": online_softmax_attention, "BlockLinearAttention": block_linear_attention}


def body(op, attributes):
    return OPS[op].body(
        Specialisation(attributes=attributes, query_length=3, key_length=3, packed=True, opset=18)
    )


@pytest.mark.parametrize("op,good,name,value", CASES, ids=lambda x: "" if isinstance(x, dict) else str(x))
def test_bad_attribute_is_the_same_sentence_everywhere(op, good, name, value):
    attributes = {**good, name: value}
    x = np.zeros((1, 3, 12), np.float32)
    sentences = set()
    for attempt in (
        lambda: OPS[op].reference([x], attributes),
        lambda: TORCH[op](torch.from_numpy(x), **attributes),
        lambda: body(op, attributes),
    ):
        with pytest.raises(ValueError) as caught:
            attempt()
        sentences.add(str(caught.value))
    assert len(sentences) == 1
    sentence = sentences.pop()
    assert sentence.startswith(f"{op}: {name} is ") and sentence.endswith(".") and "must" in sentence


@pytest.mark.parametrize("op,good", [("OnlineSoftmaxAttention", SOFTMAX), ("BlockLinearAttention", LINEAR)])
def test_unknown_and_missing_attributes(op, good):
    x = np.zeros((1, 3, 12), np.float32)
    with pytest.raises(ValueError, match=f"^{op}: unknown attribute 'windw'"):
        OPS[op].reference([x], {**good, "windw": 3})
    with pytest.raises(ValueError, match=f"^{op}: num_heads is missing"):
        OPS[op].reference([x], {k: v for k, v in good.items() if k != "num_heads"})
    partial = {k: v for k, v in good.items() if k != "scale"}
    with pytest.raises(ValueError, match=f"^{op}: the body needs the attribute scale"):
        body(op, partial)


BAD_SHAPES = {
    "rank": (((2, 12),), {}, "Q has shape \\[2, 12\\]; it must have 3 axes"),
    "packed width": (((1, 3, 13),), {}, "the last axis of packed Q is 13"),
    "K without V": (((1, 3, 4), (1, 3, 4)), {}, "K and V must both be given"),
    "head dims": (((1, 3, 4), (1, 3, 6), (1, 3, 4)), {}, "the head dim of Q is 2 but the head dim of K is 3"),
    "batches": (((1, 3, 4), (2, 3, 4), (2, 3, 4)), {}, "the batch of Q is 1 but the batch of K is 2"),
    "lengths": (((1, 3, 4), (1, 3, 4), (1, 2, 4)), {}, "the length of K is 3 but the length of V is 2"),
    "mask": (((1, 3, 12), None, None, (1, 4)), {}, "the number of keys is 3 but the length of key_mask is 4"),
}


@pytest.mark.parametrize("shapes,extra,sentence", BAD_SHAPES.values(), ids=BAD_SHAPES)
def test_shapes_that_do_not_fit(shapes, extra, sentence):
    inputs = [
        None if s is None else np.zeros(s, bool if i == 3 else np.float32) for i, s in enumerate(shapes)
    ]
    with pytest.raises(ValueError, match=f"^OnlineSoftmaxAttention: {sentence}"):
        OPS["OnlineSoftmaxAttention"].reference(inputs, SOFTMAX)
    tensors = [None if x is None else torch.from_numpy(x) for x in inputs]
    with pytest.raises(ValueError, match=f"^OnlineSoftmaxAttention: {sentence}"):
        online_softmax_attention(*tensors, num_heads=2)


def test_dtypes_that_do_not_fit():
    x = torch.zeros(1, 3, 4)
    with pytest.raises(ValueError, match=r"Q has dtype torch.int64; it must be a floating-point tensor"):
        online_softmax_attention(torch.zeros(1, 3, 12, dtype=torch.int64), num_heads=2)
    with pytest.raises(ValueError, match=r"Q has dtype torch.float32 but K has torch.float16"):
        online_softmax_attention(x, x.half(), x, num_heads=2)
    with pytest.raises(ValueError, match=r"key_mask has dtype torch.float32; it must be bool"):
        online_softmax_attention(x, x, x, torch.zeros(1, 3), num_heads=2)


def test_block_linear_needs_as_many_keys_as_queries():
    x = torch.zeros(1, 3, 4)
    with pytest.raises(
        ValueError, match=r"^BlockLinearAttention: Q has 3 rows but K has 4; they must be equal"
    ):
        block_linear_attention(x, torch.zeros(1, 4, 4), torch.zeros(1, 4, 4), num_heads=2, block_size=2)
