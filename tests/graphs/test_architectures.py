"""What every architecture promises, at sizes where each of its branches is at work."""

import dataclasses

import pytest
import torch

from temport import graphs
from temport.graphs.registry import ARCHITECTURES
from tests.small_models import SEQUENCES, SMALL, STREAMING

LENGTHS = (1, 7, 61)


def build(name, options, dtype=torch.float32, **more):
    config = ARCHITECTURES[name].config(**{**options[name], **more})
    return ARCHITECTURES[name].build(config).to(dtype).eval()


def inputs(dtype=torch.float64):
    return torch.randn(3, 61, 6, dtype=dtype)


@pytest.mark.parametrize("name", SMALL)
def test_registry_entry(name):
    small = SMALL[name]
    architecture, config = small.arch, small.config()
    assert ARCHITECTURES[architecture.name] is architecture
    if architecture.edifice is not None:
        assert sorted(architecture.edifice(config)) == sorted(small.build().state_dict())
    assert architecture.config(**architecture.example).__class__ is architecture.config
    for field in dataclasses.fields(architecture.config):
        assert field.metadata["help"], field.name


def test_an_entry_without_a_small_model_is_refused():
    with pytest.raises(ValueError, match="architecture mega names no small model"):
        dataclasses.replace(ARCHITECTURES["mega"], small={})


@pytest.mark.parametrize("name", SMALL)
def test_it_is_small(name):
    """What makes it cheap to put through everything."""
    assert sum(parameter.numel() for parameter in SMALL[name].build().parameters()) < 5000


@pytest.mark.parametrize("seq", LENGTHS, ids="T{}".format)
@pytest.mark.parametrize("name", SEQUENCES)
def test_any_length_and_batch(name, seq):
    """Rows of a batch do not see each other, and the output is the last frame of the sequence."""
    model = SMALL[name].build(torch.float64)
    (x,) = SMALL[name].inputs(seq=seq, dtype=torch.float64)
    sequence = model.forward_sequence(x)
    assert sequence.shape[:2] == (3, seq) and sequence.dtype == torch.float64
    torch.testing.assert_close(model(x), sequence[:, -1], rtol=0, atol=1e-13)
    torch.testing.assert_close(model.forward_sequence(x[1:2]), sequence[1:2], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", SMALL)
def test_float32_stays_near_float64(name):
    model, x = SMALL[name].build(), SMALL[name].inputs()
    run = "forward_sequence" if name in SEQUENCES else "forward"
    single = getattr(model, run)(*x).double()
    exact = getattr(model.double(), run)(*(t.double() if t.is_floating_point() else t for t in x))
    # Layers end in norms, so values are of order 1; some 100 roundings of float32 accumulate on the way.
    assert (single - exact).abs().max() < 200 * torch.finfo(torch.float32).eps * exact.abs().max()


@pytest.mark.parametrize("name", STREAMING)
def test_a_later_frame_changes_nothing_earlier(name):
    model = SMALL[name].build(torch.float64)
    (x,) = SMALL[name].inputs(dtype=torch.float64)
    changed = x.clone()
    changed[:, 40, 0] += 5
    before, after = model.forward_sequence(x), model.forward_sequence(changed)
    torch.testing.assert_close(after[:, :40], before[:, :40], rtol=0, atol=1e-13)
    assert (after[:, 40] - before[:, 40]).abs().max() > 1e-3


def test_the_l1_kernel_sees_later_frames(small):
    model = build("mega", small, torch.float64, attention_kernel="l1")
    x = inputs()
    changed = x.clone()
    changed[:, 40, 0] += 5
    difference = (model.forward_sequence(x) - model.forward_sequence(changed))[:, :40].abs().max()
    assert difference > 1e-6


@pytest.mark.parametrize("layers", [1, 2], ids="L{}".format)
def test_a_frame_leaves_the_window_exactly_on_time(layers, small):
    """Each layer reaches W-1 frames back: frame t reaches the output of t + layers*(W-1), not one further."""
    model = build("sliding_window", small, torch.float64, num_layers=layers)
    x = inputs()
    changed = x.clone()
    changed[:, 20, 0] += 5
    difference = (model.forward_sequence(x) - model.forward_sequence(changed)).abs().amax(dim=(0, 2))
    reach = 20 + layers * (small["sliding_window"]["window_size"] - 1)
    touched = [t for t in range(61) if difference[t] > 1e-13]
    assert touched == list(range(20, reach + 1))


def test_lightning_sees_earlier_blocks(small):
    """At three blocks or more the linear branch is at work; with one block it is idle."""
    model = build("lightning", small, torch.float64, num_layers=1)
    x = inputs()
    changed = x.clone()
    changed[:, 0, 0] += 5
    assert (model(x) - model(changed)).abs().max() > 1e-6
    for block in model.blocks:
        block.attention.block_size = 61
    inside = model.forward_sequence(x)
    for block in model.blocks:
        block.attention.block_size = 8
    torch.testing.assert_close(model.forward_sequence(x)[:, :8], inside[:, :8], rtol=0, atol=1e-13)
    assert (model.forward_sequence(x)[:, 8:] - inside[:, 8:]).abs().max() > 1e-3


def test_attention_takes_its_head_size_from_hidden_size(small):
    """`attention` is `sliding_window` in other words: same parameters, same output."""
    one, other = build("sliding_window", small), build("attention", small)
    other.load_state_dict(one.state_dict())
    x = inputs(torch.float32)
    assert torch.equal(one(x), other(x))
    assert graphs.output_size(num_heads=2, head_dim=4) == one(x).shape[1]


@pytest.mark.parametrize("name", SEQUENCES)
def test_wrong_input_is_one_sentence(name):
    model, width = SMALL[name].build(), SMALL[name].config().embed_dim
    said = rf"state_sequence has shape \[2, 5, 7\]; it must be \[batch, seq, {width}\]"
    with pytest.raises(ValueError, match=said):
        model(torch.zeros(2, 5, 7))
    with pytest.raises(ValueError, match="needs at least 1"):
        model(torch.zeros(2, 0, width))
