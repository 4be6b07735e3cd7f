"""Bodies of BlockLinearAttention: both forms, in every runtime, against the float64 reference."""

from itertools import product

import numpy as np
import onnx
import pytest
import torch
from body_checks import computing_nodes, shift_masks, wrong_masks
from one_node import RUNTIMES, bound, error, model, run_onnxruntime

from temport.custom_ops.block_linear_attention import block_linear_attention
from temport.custom_ops.op import Specialisation
from temport.custom_ops.table import OPS

OP = OPS["BlockLinearAttention"]
SIZES = [(1, 4), (7, 1), (20, 64), (64, 16), (75, 16), (130, 64)]
MAPS = list(product(["identity", "elu1"], ["key_sum", "none"]))


def options(block, feature_map="elu1", normalizer="key_sum"):
    numbers = {"scale": float(np.float32(0.4)), "eps": float(np.float32(1e-8))}
    return {
        "num_heads": 2,
        "block_size": block,
        "feature_map": feature_map,
        "normalizer": normalizer,
        **numbers,
    }


def draw(T, packed=True, Dv=5, dtype="float32"):
    """Positive q and k keep the denominator of identity + key_sum away from 0."""
    rng = np.random.default_rng(0)
    if packed:
        return [(rng.random((2, T, 3 * 2 * 5)) + 0.1).astype(dtype)]
    return [(rng.random((2, T, 2 * d)) + 0.1).astype(dtype) for d in (5, 5, Dv)]


def build(T, attributes, form, packed=True, dtype="float32", opset=18):
    return OP.body(
        Specialisation(
            attributes=attributes,
            query_length=T,
            key_length=T,
            max_length=140,
            packed=packed,
            opset=opset,
            form=form,
            element_type=dtype,
        )
    )


def check(attributes, body, inputs, runtime=run_onnxruntime, dtype="float32"):
    assert not wrong_masks(body) and not computing_nodes(body)
    proto = model(OP.name, attributes, inputs, body, opset=18)
    onnx.checker.check_model(proto, full_check=True)
    truth = OP.reference(inputs, attributes)
    own = block_linear_attention(*map(torch.from_numpy, inputs), **attributes).numpy()
    output = runtime(proto, inputs)
    assert output.shape == truth.shape and output.dtype == dtype
    assert error(output, truth) <= bound(truth, own, dtype)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("form", ["dense", "blocked"])
@pytest.mark.parametrize("T,block", SIZES, ids=str)
def test_fixed_length(T, block, form, runtime):
    attributes = options(block)
    check(attributes, build(T, attributes, form), draw(T), RUNTIMES[runtime])


@pytest.mark.parametrize("form", ["dense", "blocked"])
@pytest.mark.parametrize("maps", MAPS, ids="-".join)
def test_feature_maps_and_normalizers(maps, form):
    attributes = options(16, *maps)
    check(attributes, build(75, attributes, form, packed=False), draw(75, packed=False, Dv=3))


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("packed", [True, False], ids=["packed", "separate"])
def test_one_dynamic_model_serves_every_length(packed, runtime):
    attributes = options(16)
    body = build(None, attributes, "dense", packed)
    for T in (1, 16, 17, 140):
        check(attributes, body, draw(T, packed), RUNTIMES[runtime])


@pytest.mark.parametrize("dtype", ["float16", "float64"])
@pytest.mark.parametrize("form", ["dense", "blocked"])
def test_other_dtypes(form, dtype):
    attributes = options(16)
    check(attributes, build(75, attributes, form, dtype=dtype), draw(75, dtype=dtype), dtype=dtype)


@pytest.mark.parametrize("form", ["dense", "blocked"])
def test_a_shifted_mask_is_seen(form):
    attributes, inputs = options(16), draw(75)
    body = shift_masks(build(75, attributes, form))
    assert set(wrong_masks(body)) == set(body.masks) and body.masks
    output = run_onnxruntime(model(OP.name, attributes, inputs, body, opset=18), inputs)
    assert error(output, OP.reference(inputs, attributes)) > 1e-3


@pytest.mark.parametrize(
    "T,block,form",
    [(60, 64, "dense"), (64, 16, "dense"), (128, 64, "blocked"), (512, 16, "blocked")],
    ids=str,
)
def test_auto_takes_the_cheaper_form(T, block, form):
    assert build(T, options(block), "auto").form == form


def test_one_block_has_no_linear_part():
    assert [n.op_type for n in build(20, options(64), "dense").function.node].count("MatMul") == 2


def test_forms_that_cannot_serve_say_why():
    with pytest.raises(ValueError, match=r"^BlockLinearAttention: the blocked body needs a fixed length"):
        build(None, options(16), "blocked")
    with pytest.raises(ValueError, match=r"the body form is 'banded'; it must be auto, dense, blocked"):
        build(75, options(16), "banded")
