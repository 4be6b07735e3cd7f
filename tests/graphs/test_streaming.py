"""Frame by frame equals the whole sequence at every position, over streams far longer than any window."""

import copy

import pytest
import torch
from safetensors.torch import load, save

from temport import graphs
from temport.graphs import streaming
from temport.graphs.position import RADIX, STREAM_FRAMES, PositionalEncoding, sinusoid
from temport.graphs.registry import ARCHITECTURES
from tests.small_models import SMALL, STREAMING

COUNTING = [
    name
    for name in STREAMING
    if any(getattr(m, "counts_frames", False) for m in SMALL[name].build().modules())
]
HORIZON = 9
FRAMES = 61  # eight windows of 7, and seven blocks of 8 with a part of one more


def small_stream(name, dtype=torch.float64, count=FRAMES):
    """One of the small models within the horizon, and frames for it."""
    torch.manual_seed(0)
    model, width = SMALL[name].build(dtype), SMALL[name].config().embed_dim
    return streaming.limited(model, HORIZON), frames(dtype, count=count, width=width)


def build(arch, options, dtype=torch.float64, horizon=HORIZON):
    model = ARCHITECTURES[arch].build(ARCHITECTURES[arch].config(**options)).eval().to(dtype)
    return streaming.limited(model, horizon)


def frames(dtype=torch.float64, batch=3, count=FRAMES, width=6):
    return torch.randn(batch, count, width, dtype=torch.float64).to(dtype)


@torch.no_grad()
def stream(model, x, state=None):
    """Outputs `[batch, frames, hidden]` one frame at a time, and the state after the last."""
    state = streaming.initial_state(model, len(x)) if state is None else state
    outputs = []
    for t in range(x.shape[1]):
        output, state = streaming.step(model, x[:, t : t + 1], state)
        outputs.append(output)
    return torch.stack(outputs, 1), state


@torch.no_grad()
def whole(model, x):
    return model.forward_sequence(x)


def same(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", STREAMING)
def test_every_position_in_float64(name):
    model, x = small_stream(name)
    same(stream(model, x)[0], whole(model, x))


@pytest.mark.parametrize("name", STREAMING)
def test_every_position_in_float32(name):
    """The error against float64 is at most twice that of the sequence form plus a few roundings."""
    model, x = small_stream(name, torch.float32)
    exact = whole(copy.deepcopy(model).double(), x.double())
    own = (whole(model, x) - exact).abs().max()
    error = (stream(model, x)[0] - exact).abs().max()
    assert error <= 2 * own + 16 * torch.finfo(torch.float32).eps * exact.abs().max()


@pytest.mark.parametrize(
    "arch, options",
    [
        ("mega", dict(hidden_size=6)),
        ("mega", dict(attention_kernel="laplace_paper")),
        ("lightning", dict(block_size=1)),
        ("lightning", dict(block_size=59)),
        ("sliding_window", dict(window_size=1)),
        ("sliding_window", dict(window_size=60)),
    ],
    ids=str,
)
def test_other_options(arch, options, small):
    model, x = build(arch, small[arch] | options), frames()
    same(stream(model, x)[0], whole(model, x))


def test_identity_feature_map_where_its_divisor_stays_away_from_zero(small):
    """Its divisor may pass through 0, so the comparison is relative to the largest output."""
    model, x = build("lightning", small["lightning"] | dict(feature_map="identity")), frames()
    expected = whole(model, x)
    torch.testing.assert_close(stream(model, x)[0], expected, rtol=0, atol=1e-9 * expected.abs().max().item())


@pytest.mark.parametrize("name", STREAMING)
def test_a_horizon_limits_what_has_no_window_and_nothing_else(name):
    """The first frames equal the model without a horizon; where attention needs none, all of them do."""
    unlimited, x = SMALL[name].build(torch.float64), small_stream(name)[1]
    model = streaming.limited(unlimited, HORIZON)
    outputs, expected = stream(model, x)[0], whole(unlimited, x)
    if streaming.needs_horizon(unlimited):
        same(outputs[:, :HORIZON], expected[:, :HORIZON])
        assert (outputs[:, HORIZON] - expected[:, HORIZON]).abs().max() > 1e-6
        with pytest.raises(ValueError, match="needs a horizon"):
            streaming.state_specs(unlimited)
    else:
        assert torch.equal(whole(streaming.limited(unlimited, 3), x), expected)
        same(stream(unlimited, x)[0], expected)


@pytest.mark.parametrize("name", STREAMING)
def test_zeroed_rows_restart_one_stream_and_leave_the_others(name):
    model, x = small_stream(name)
    _, state = stream(model, x[:, :20])
    for tensor in state.values():
        tensor[1] = 0
    outputs, _ = stream(model, x[:, 20:], state)
    same(outputs[1], whole(model, x[1:2, 20:])[0])
    same(outputs[[0, 2]], whole(model, x[[0, 2]])[:, 20:])


@pytest.mark.parametrize("name", STREAMING)
def test_rows_of_a_batch_are_independent_streams(name):
    model, x = small_stream(name, count=20)
    together = stream(model, x)[0]
    same(together, torch.cat([stream(model, row[None])[0] for row in x]))


@pytest.mark.parametrize("name", STREAMING)
def test_a_saved_state_goes_on_bit_for_bit(name):
    model, x = small_stream(name, torch.float32)
    outputs, _ = stream(model, x)
    _, state = stream(model, x[:, :30])
    again, _ = stream(
        model, x[:, 30:], load(save({key: tensor.contiguous() for key, tensor in state.items()}))
    )
    assert torch.equal(again, outputs[:, 30:])


@pytest.mark.parametrize("name", STREAMING)
def test_the_state_does_not_grow(name):
    model, x = small_stream(name)
    start = streaming.initial_state(model, len(x))
    _, end = stream(model, x)
    assert {n: (t.shape, t.dtype) for n, t in start.items()} == {
        n: (t.shape, t.dtype) for n, t in end.items()
    }
    assert not any(tensor.any() for tensor in start.values())


@pytest.mark.parametrize("start", [0, RADIX - 2, RADIX**2 - 2, 1_000_000, STREAM_FRAMES - 4])
@pytest.mark.parametrize("dtype, units", [(torch.float64, 0), (torch.float32, 4)], ids=str)
def test_positions_far_into_a_stream(start, dtype, units):
    """The encoding from digits against the sine of the whole angle in float64.

    Four products of three factors, each rounded: within 4 units of float32 at 1. In float64 both sides are as
    good as the angle itself, which is rounded to eps * position.
    """
    encoding = PositionalEncoding(16).to(dtype).eval()
    specs = [streaming.StateSpec("frames", (1,), "int64")]
    assert list(streaming.state_specs(encoding)) == specs
    positions = torch.tensor([[start], [start + 3]])
    memory = streaming.Memory(encoding, {"frames": positions})
    encoded = encoding.advance(memory)
    angle = positions.double()[..., None] / (1 + 0.01 * torch.arange(16, dtype=torch.float64))
    bound = units * torch.finfo(torch.float32).eps + 4 * 2.0**-52 * (1 + start)
    assert (encoded - torch.sin(angle)).abs().max() <= bound
    assert torch.equal(memory.after["frames"], positions + 1)


@pytest.mark.parametrize("windows", [1, 10**6])
def test_positions_count_from_zero_again_at_the_end(windows):
    encoding = PositionalEncoding(4).double().eval()
    memory = streaming.Memory(encoding, {"frames": torch.tensor([[windows * STREAM_FRAMES + 5]])})
    same(encoding.advance(memory)[0], sinusoid(6, 4, 0.01)[5:])


@pytest.mark.parametrize("name", COUNTING)
@pytest.mark.parametrize("frames_before", [2, 8, 10**12])
def test_a_wrong_counter_is_seen(name, frames_before):
    """Claims frames that never were, or forgets those that were: other rows are filled, another one is written."""
    model, x = small_stream(name)
    _, state = stream(model, x[:, :5])
    state["frames"] = torch.full_like(state["frames"], frames_before)
    outputs, _ = stream(model, x[:, 5:8], state)
    assert (outputs - whole(model, x)[:, 5:8]).abs().max() > 1e-4


@pytest.mark.parametrize("arch", ["hybrid", "mega", "lightning"])
def test_a_counter_of_any_size_keeps_the_stream(arch, small):
    """The same stream with its counter moved on by whole rings: no row and no block changes its place."""
    model, x = build(arch, small[arch]), frames()
    capacity = next(
        tensor.shape[1] for name, tensor in streaming.initial_state(model, 1).items() if "keys" in name
    )
    _, state = stream(model, x[:, : 2 * capacity + 3])
    moved = {**state, "frames": state["frames"] + capacity * 10**12}
    rest = x[:, 2 * capacity + 3 :]
    same(stream(model, rest, moved)[0], stream(model, rest, state)[0])


def test_a_frame_costs_one_row_of_each_cache(small):
    model, x = build("sliding_window", small["sliding_window"]), frames()
    _, before = stream(model, x[:, :10])
    _, after = stream(model, x[:, 10:11], before)
    for name, cache in before.items():
        changed = (after[name] != cache).flatten(2).any(-1) if cache.dim() == 3 else None
        if changed is not None:
            assert changed.tolist() == [[row == 10 % 7 for row in range(7)]] * 3, name


def test_layers_may_keep_different_numbers_of_frames():
    layers = torch.nn.ModuleList(
        graphs.sliding_window_attention(input_size=6, window_size=n, num_heads=2, head_dim=3) for n in (3, 5)
    ).double()
    x, outputs, state = frames(), [], streaming.initial_state(layers, 3)
    assert {name: tuple(tensor.shape[1:]) for name, tensor in state.items()} == {
        "frames": (1,), "0.keys": (3, 6), "0.values": (3, 6), "1.keys": (5, 6), "1.values": (5, 6),
    }  # fmt: skip
    for t in range(FRAMES):
        memory = streaming.Memory(layers, state)
        outputs.append(layers[1](layers[0](x[:, t : t + 1], memory), memory))
        state = memory.after
    same(torch.cat(outputs, 1), layers[1](layers[0](x)))


def test_block_sums_gather_no_rounding():
    """The same frame 999 times, which rounds the same way each time: a plain running sum drifts."""
    layer = graphs.build_lightning_attention(hidden_size=8, num_heads=2, block_size=1000).eval()
    x, state = torch.randn(1, 1, 8), streaming.initial_state(layer, 1)
    with torch.no_grad():
        for _ in range(999):
            memory = streaming.Memory(layer, state)
            layer(x, memory)
            state = memory.after
        _, k, v = (p.unflatten(-1, (2, 4)).transpose(1, 2) for p in layer.qkv(x).chunk(3, dim=-1))
    added = k.mT @ torch.nn.functional.pad(v, (0, 1), value=1.0)  # rounded once, as each time in the stream
    exact = 999 * added.double()
    assert ((state["block"] - exact) / exact).abs().max() <= 2 * torch.finfo(torch.float32).eps
    plain = sum([added] * 999)
    assert ((plain - exact) / exact).abs().max() > 1e-6


def test_what_cannot_stream_says_why(small):
    for arch, options, sentence in [
        ("mega", dict(attention_kernel="l1"), "attention_kernel=l1 sees later frames"),
        ("dms", {}, "carries nothing from frame to frame"),
    ]:
        with pytest.raises(ValueError, match=sentence):
            streaming.state_specs(build(arch, small[arch] | options))
    with pytest.raises(ValueError, match="not causal sees later frames"):
        streaming.state_specs(graphs.self_attention(hidden_size=8, causal=False))
    for option in (dict(rope=True), dict(chunked=True)):
        layer = streaming.limited(graphs.self_attention(hidden_size=8, **option), 5)
        with pytest.raises(ValueError, match="for whole sequences"):
            streaming.state_specs(layer)
    with pytest.raises(ValueError, match="horizon is 0"):
        streaming.limited(graphs.self_attention(hidden_size=8), 0)


def test_flat_form(small):
    model = build("mega", small["mega"])
    flat = streaming.StepModel(model)
    x, state = frames(count=1), streaming.initial_state(model, 3)
    assert list(state) == [spec.name for spec in flat.specs]
    output, *after = flat(x, *state.values())
    expected, expected_after = streaming.step(model, x, state)
    assert torch.equal(output, expected)
    assert all(torch.equal(a, expected_after[s.name]) for a, s in zip(after, flat.specs, strict=True))
    with pytest.raises(ValueError, match=r"it must be \[batch, 1, features\]"):
        flat(frames(count=2), *state.values())
    with pytest.raises(ValueError, match="0 state tensors were given; the model has 7"):
        flat(x)


def test_normalised_queries_and_keys():
    layer = graphs.sliding_window_attention(
        input_size=6, window_size=4, num_heads=2, head_dim=4, qk_layernorm=True
    ).double()
    x, outputs = frames(), []
    state = streaming.initial_state(layer, 3)
    for t in range(FRAMES):
        memory = streaming.Memory(layer, state)
        outputs.append(layer(x[:, t : t + 1], memory))
        state = memory.after
    same(torch.cat(outputs, 1), layer(x))
