"""The ops over a ring of cached frames: definition, torch op and gradients; a stream against the whole sequence."""

import math

import numpy as np
import pytest
import torch
from one_node import EPS, error
from step_cases import LINEAR, LONG, SOFTMAX, STEPS, Step

from temport.custom_ops.cached_attention import cached_attention
from temport.custom_ops.cached_block_linear_attention import cached_block_linear_attention
from temport.custom_ops.op import Specialisation
from temport.custom_ops.table import OPS

TORCH = {SOFTMAX: cached_attention, LINEAR: cached_block_linear_attention}


def by_rows(step, inputs):
    """The definition written as loops over scalars; caches are dictionaries of the rows that frames have filled."""
    qkv, keys, values, *sums, frames = inputs
    outputs = [
        np.zeros((len(qkv), 1, step.H * step.D)),
        keys.copy(),
        values.copy(),
        *(x.copy() for x in sums),
    ]

    def phi(x):
        return x if step.feature_map == "identity" else x + 1 if x > 0 else math.exp(x)

    for b, (before,) in enumerate(frames.tolist()):
        slot = before % step.N
        filled = slot + 1 if step.op == LINEAR else min(before + 1, step.N)
        for c in range(step.H * step.D):
            outputs[1][b, slot, c], outputs[2][b, slot, c] = (
                qkv[b, 0, step.H * step.D + c],
                qkv[b, 0, 2 * step.H * step.D + c],
            )
        for h in range(step.H):
            head = range(h * step.D, (h + 1) * step.D)
            q, k, v = ([qkv[b, 0, part * step.H * step.D + c] for c in head] for part in range(3))
            scale = step.attributes.get("scale", step.D**-0.5)
            rows = [[outputs[1][b, n, c] for c in head] for n in range(filled)]
            scores = [scale * math.fsum(x * y for x, y in zip(q, row, strict=True)) for row in rows]
            weights = [math.exp(s - max(scores)) for s in scores]
            for d, c in enumerate(head):
                y = math.fsum(w * outputs[2][b, n, c] for n, w in enumerate(weights)) / math.fsum(
                    weights or [1]
                )
                if step.op == LINEAR:
                    earlier, block, lost = (x[b, h] for x in sums)
                    linear = math.fsum(phi(x) * earlier[i, d] for i, x in enumerate(q))
                    key_sum = math.fsum(phi(x) * earlier[i, step.D] for i, x in enumerate(q))
                    y += linear / (key_sum + 1e-8) if step.normalizer == "key_sum" else linear
                outputs[0][b, 0, c] = y
            for i in range(step.D if step.op == LINEAR else 0):
                for j, x in enumerate([*v, 1.0]):
                    grown = block[i, j] + phi(k[i]) * x - lost[i, j]
                    ends = slot == step.N - 1
                    outputs[3][b, h, i, j] = earlier[i, j] + (grown if ends else 0.0)
                    outputs[4][b, h, i, j] = 0.0 if ends else grown
                    outputs[5][b, h, i, j] = 0.0  # nothing is lost beside what float64 cannot show
    return outputs


@pytest.mark.parametrize("step", STEPS, ids=str)
def test_references_are_the_definition(step):
    inputs = step.inputs()
    for mine, truth in zip(
        OPS[step.op].reference(inputs, step.attributes), by_rows(step, inputs), strict=True
    ):
        np.testing.assert_allclose(mine, truth, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("step", STEPS, ids=str)
def test_torch_ops_are_the_reference_in_float64(step):
    inputs = step.inputs()
    mine = TORCH[step.op](*map(torch.from_numpy, inputs), **step.attributes)
    for output, truth in zip(mine, OPS[step.op].reference(inputs, step.attributes), strict=True):
        assert output.shape == truth.shape
        assert error(output.numpy(), truth) <= 64 * EPS["float64"] * max(1.0, np.abs(truth).max())


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("step", [Step(SOFTMAX, 7, 2, 8, (9, 2)), Step(LINEAR, 7, 2, 8, (9, 6))], ids=str)
def test_error_in_each_dtype(step, dtype):
    """Sums are float32 at least: the output is off by little more than its own rounding."""
    kind = getattr(torch, dtype)
    inputs = [torch.from_numpy(x) for x in step.inputs()]
    inputs = [x.to(kind) if x.is_floating_point() else x for x in inputs]
    exact = [x.double().numpy() if x.is_floating_point() else x.numpy() for x in inputs]
    outputs = TORCH[step.op](*inputs, **step.attributes)
    for output, truth in list(zip(outputs, OPS[step.op].reference(exact, step.attributes), strict=True))[:5]:
        assert output.dtype == kind
        assert error(output.double().numpy(), truth) <= 2 * EPS[dtype] * max(1.0, np.abs(truth).max())


def test_a_frame_before_the_first_sees_nothing():
    step = Step(SOFTMAX, frames=(-1, -7, 0))
    for compute in (OPS[SOFTMAX].reference, lambda x, a: cached_attention(*map(torch.from_numpy, x), **a)):
        y, keys, _ = compute(step.inputs(), step.attributes)
        assert not y[:2].any() and y[2].any()
        for b, slot in enumerate((4, 3, 0)):  # the floor modulus
            np.testing.assert_array_equal(keys[b, slot], step.inputs()[0][b, 0, 6:12])


def draw_sequence(T, H, D, batch=3):
    qkv = np.random.default_rng(T).standard_normal((batch, T, 3 * H * D))
    qkv[..., : 2 * H * D] = np.abs(qkv[..., : 2 * H * D]) + 0.1
    return qkv


def stream(op, qkv, N, attributes, start=0):
    """Every frame through the reference: outputs `[batch, T, C]`."""
    batch, T, width = qkv.shape
    H, D = attributes["num_heads"], width // 3 // attributes["num_heads"]
    state = [np.zeros((batch, N, H * D)) for _ in range(2)]
    state += [np.zeros((batch, H, D, D + 1)) for _ in range(3 if op == LINEAR else 0)]
    outputs = []
    for t in range(T):
        frames = np.full((batch, 1), start + t, np.int64)
        y, *state = OPS[op].reference([qkv[:, t : t + 1], *state, frames], attributes)
        outputs.append(y)
    return np.concatenate(outputs, axis=1)


@pytest.mark.parametrize("N", [1, 2, 7])
def test_a_ring_is_a_window(N):
    """Over six rings and a part of one more."""
    qkv = draw_sequence(6 * N + 2, 2, 3)
    whole = OPS["OnlineSoftmaxAttention"].reference([qkv], {"num_heads": 2, "causal": True, "window": N})
    np.testing.assert_allclose(stream(SOFTMAX, qkv, N, {"num_heads": 2}), whole, rtol=0, atol=1e-12)
    wider = OPS["OnlineSoftmaxAttention"].reference([qkv], {"num_heads": 2, "causal": True, "window": N + 1})
    assert np.abs(whole - wider).max() > 1e-3


@pytest.mark.parametrize("start", [0, 7 * LONG])
@pytest.mark.parametrize("N", [1, 2, 7])
@pytest.mark.parametrize(
    "maps", [("identity", "key_sum"), ("elu1", "key_sum"), ("elu1", "none")], ids="-".join
)
def test_a_ring_is_a_block(N, maps, start):
    """Over six blocks and a part of one more, also where a stream goes on after whole blocks without end."""
    attributes = {"num_heads": 2, "feature_map": maps[0], "normalizer": maps[1]}
    qkv = draw_sequence(6 * N + 2, 2, 3)
    whole = OPS["BlockLinearAttention"].reference([qkv], {**attributes, "block_size": N})
    streamed = stream(LINEAR, qkv, N, attributes, start)
    np.testing.assert_allclose(streamed, whole, rtol=0, atol=1e-10 * np.abs(whole).max())
    shifted = stream(LINEAR, qkv, N, attributes, start + 1)
    assert N == 1 or np.abs(shifted - whole).max() > 1e-3


@pytest.mark.parametrize("op", [SOFTMAX, LINEAR])
def test_other_rows_stay_as_they_were_and_inputs_are_not_written(op):
    step = Step(op, 5, frames=(2, 13))
    inputs = [torch.from_numpy(x) for x in step.inputs()]
    copies = [x.clone() for x in inputs]
    _, keys, values, *_ = TORCH[op](*inputs, **step.attributes)
    assert all(torch.equal(x, copy) for x, copy in zip(inputs, copies, strict=True))
    for before, after in zip(inputs[1:3], (keys, values), strict=True):
        changed = (before != after).any(-1)
        assert changed.nonzero().tolist() == [[0, 2], [1, 3]]


@pytest.mark.parametrize("step", [step for step in STEPS if step.N < 60], ids=str)
def test_gradients(step):
    """Of every output in every floating-point input, against finite differences."""
    *floats, frames = (torch.from_numpy(x) for x in step.inputs())
    floats = [x.requires_grad_() for x in floats]

    def compute(*tensors):
        return TORCH[step.op](*tensors, frames, **step.attributes)

    # `lost` is a difference of what is equal but for rounding: its derivative is 0, which rounding drowns
    chosen = compute if step.op == SOFTMAX else lambda *tensors: compute(*tensors)[:5]
    assert torch.autograd.gradcheck(chosen, floats)


@pytest.mark.parametrize("op", [SOFTMAX, LINEAR])
def test_registration_is_sound(op):
    step = Step(op, 3, frames=(2, 7))
    *floats, frames = (torch.from_numpy(x) for x in step.inputs())
    inputs = [x.requires_grad_() for x in floats]
    torch.library.opcheck(OPS[op].torch_op, (*inputs, frames, *step.attributes.values()))
    y, *_ = TORCH[op](*inputs, frames, **step.attributes)
    with pytest.raises(NotImplementedError, match=f"{op} has no second derivative"):
        torch.autograd.grad(y.sum(), inputs[0], create_graph=True)


@pytest.mark.parametrize("op", [SOFTMAX, LINEAR])
def test_what_does_not_fit_is_refused_alike(op):
    step = Step(op, 5, 2, 3, frames=(3, 4))
    shapes = {
        0: ((2, 2, 18), r"QKV has shape \[2, 2, 18\]; with Keys \[2, 5, 6\] it must be \[2, 1, 18\]"),
        1: ((2, 5, 7), r"the last axis of Keys is 7; it must be a positive multiple of num_heads = 2"),
        2: ((2, 4, 6), r"Values has shape \[2, 4, 6\]; with Keys \[2, 5, 6\] it must be \[2, 5, 6\]"),
        -1: ((3, 1), r"Frames has shape \[3, 1\]; with Keys \[2, 5, 6\] it must be \[2, 1\]"),
    }
    if op == LINEAR:
        shapes[4] = ((2, 2, 3, 3), r"Block has shape \[2, 2, 3, 3\]; it must be \[2, 2, 3, 4\]")
    for index, (shape, sentence) in shapes.items():
        inputs = step.inputs()
        inputs[index] = np.zeros(shape, inputs[index].dtype)
        with pytest.raises(ValueError, match=f"^{op}: {sentence}"):
            OPS[op].reference(inputs, step.attributes)
        with pytest.raises(ValueError, match=f"^{op}: {sentence}"):
            TORCH[op](*map(torch.from_numpy, inputs), **step.attributes)
    empty = step.inputs()
    empty[1:3] = [np.zeros((2, 0, 6))] * 2
    with pytest.raises(ValueError, match=f"^{op}: Keys has no rows"):
        OPS[op].reference(empty, step.attributes)
    tensors = [torch.from_numpy(x) for x in step.inputs()]
    with pytest.raises(ValueError, match=r"Frames has dtype torch.int32; it must be int64"):
        TORCH[op](*tensors[:-1], tensors[-1].int(), **step.attributes)
    with pytest.raises(ValueError, match=r"QKV has dtype torch.float64 but Values has torch.float32"):
        TORCH[op](*tensors[:2], tensors[2].float(), *tensors[3:], **step.attributes)


BAD = [(op, "num_heads", value) for op in (SOFTMAX, LINEAR) for value in (0, True)]
BAD += [
    (SOFTMAX, "scale", math.nan),
    (LINEAR, "feature_map", "relu"),
    (LINEAR, "normalizer", "sum"),
    (LINEAR, "eps", 0.0),
]


@pytest.mark.parametrize(("op", "name", "value"), BAD)
def test_a_bad_attribute_is_the_same_sentence_everywhere(op, name, value):
    step = Step(op)
    attributes = {**step.attributes, name: value}
    at = Specialisation(attributes=attributes, query_length=1, key_length=5, key_width=6, opset=18)
    sentences = set()
    for attempt in (
        lambda: OPS[op].reference(step.inputs(), attributes),
        lambda: TORCH[op](*map(torch.from_numpy, step.inputs()), **attributes),
        lambda: OPS[op].body(at),
    ):
        with pytest.raises(ValueError, match=rf"^{op}: {name} is .*; it must be .*\.$") as caught:
            attempt()
        sentences.add(str(caught.value))
    assert len(sentences) == 1


@pytest.mark.parametrize("op", [SOFTMAX, LINEAR])
def test_unknown_and_missing_inputs_and_attributes(op):
    step = Step(op)
    with pytest.raises(ValueError, match=f"^{op}: unknown attribute 'windw'"):
        OPS[op].reference(step.inputs(), {**step.attributes, "windw": 3})
    with pytest.raises(ValueError, match=f"^{op}: num_heads is missing"):
        OPS[op].reference(step.inputs(), {})
    with pytest.raises(ValueError, match=f"^{op}: .* must all be given|{op}: all seven inputs must be given"):
        OPS[op].reference(step.inputs()[:-1], step.attributes)
