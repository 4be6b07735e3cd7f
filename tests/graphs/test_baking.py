"""Length tables: the same numbers baked and on the fly, never stale, differentiable while computed."""

import pytest
import torch

from temport import graphs
from temport.custom_ops.mask import MaskRule
from temport.graphs.lstm import LSTM
from temport.graphs.masks import MaskTable
from temport.graphs.moving_average import DecayKernel, ExponentialMovingAverage
from temport.graphs.position import PositionalEncoding
from temport.graphs.rope import RotaryTable


def tables():
    kernel = DecayKernel(3)
    torch.nn.init.normal_(kernel.alpha, std=2)
    return [kernel, PositionalEncoding(6), RotaryTable(4), MaskTable(MaskRule(causal=True, window=4))]


@pytest.mark.parametrize("index", range(4), ids=["decay", "position", "rotary", "mask"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_baked_is_what_is_computed(index, dtype):
    table = tables()[index].to(dtype).eval()
    computed = table(20)
    graphs.bake(table, 20)
    assert torch.equal(table(20), computed)
    assert computed.dtype == (torch.bool if index == 3 else dtype)
    if index:  # the averaging kernel keeps its full length, see below
        fresh = tables()[index].to(dtype).eval()
        assert torch.equal(table(13), fresh(13))


def test_a_longer_sequence_than_baked_is_refused():
    table = PositionalEncoding(6).eval()
    graphs.bake(table, 20)
    with pytest.raises(ValueError, match="baked for at most 20 frames and got 21"):
        table(21)


def test_baked_tables_are_dropped_where_they_would_go_stale():
    average = ExponentialMovingAverage(4, 3).eval()
    graphs.bake(average, 9)
    state = {**average.state_dict(), "kernel.alpha": torch.tensor([2.0, -1.0, 0.5])}
    assert sorted(state) == ["kernel.alpha", "out.bias", "out.weight", "proj.bias", "proj.weight"]
    average.load_state_dict(state)
    fresh = ExponentialMovingAverage(4, 3).eval()
    fresh.load_state_dict(state)
    x = torch.randn(1, 9, 4)
    assert torch.equal(average(x), fresh(x))
    graphs.bake(average, 9)
    assert average.train().kernel.baked is None
    with pytest.raises(ValueError, match=r"call model\.eval\(\) before baking"):
        graphs.bake(average, 9)
    with pytest.raises(ValueError, match="max_length is 0"):
        graphs.bake(average.eval(), 0)


@pytest.mark.parametrize("baked", [None, 61, 100])
@pytest.mark.parametrize("T", [1, 7, 61], ids="T{}".format)
def test_moving_average_by_recurrence(T, baked):
    """h_t = a h_{t-1} + (1-a) p_t, one frame at a time; decays from 1e-4 to 1 - 1e-4."""
    average = ExponentialMovingAverage(4, 5).double().eval()
    with torch.no_grad():
        average.kernel.alpha.copy_(torch.tensor([-9.0, -1.0, 0.0, 2.0, 9.0]))
    if baked:
        graphs.bake(average, baked)
    x = torch.randn(3, T, 4, dtype=torch.float64)
    a, h, frames = torch.sigmoid(average.kernel.alpha), torch.zeros(3, 5, dtype=torch.float64), []
    for t in range(T):
        h = a * h + (1 - a) * average.proj(x[:, t])
        frames.append(average.out(h))
    torch.testing.assert_close(average(x), torch.stack(frames, 1), rtol=0, atol=1e-13)


def test_gradient_of_the_decay():
    average = ExponentialMovingAverage(2, 3).double()
    x = torch.randn(1, 5, 2, dtype=torch.float64)

    def run(alpha):
        return torch.func.functional_call(average, {"kernel.alpha": alpha}, (x,))

    alpha = torch.tensor([-3.0, 0.0, 3.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(run, (alpha,))


@pytest.mark.parametrize("T", [1, 7, 61], ids="T{}".format)
def test_lstm_is_torchs_with_the_second_bias_at_zero(T):
    ours, theirs = LSTM(4, 3).double(), torch.nn.LSTM(4, 3, batch_first=True).double()
    torch.nn.init.normal_(ours.bias)
    with torch.no_grad():
        theirs.weight_ih_l0.copy_(ours.weight_ih)
        theirs.weight_hh_l0.copy_(ours.weight_hh)
        theirs.bias_ih_l0.copy_(ours.bias)
        theirs.bias_hh_l0.zero_()
    x = torch.randn(2, T, 4, dtype=torch.float64)
    torch.testing.assert_close(ours(x), theirs(x)[0], rtol=0, atol=1e-14)
