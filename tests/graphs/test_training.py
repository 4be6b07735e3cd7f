"""Training: gradients reach every parameter, dropout works in training only, a short run lowers a loss."""

import pytest
import torch

from tests.small_models import FEW, SMALL

CASES = [
    *(pytest.param(name, {}, marks=() if name in FEW else pytest.mark.thorough) for name in SMALL),
    pytest.param("mega-softmax", {"hidden_size": 6}, marks=pytest.mark.thorough),
    ("lightning-elu1", {"feature_map": "identity", "block_size": 60}),
]


def label(value):
    return value if isinstance(value, str) else "-".join(str(v) for v in value.values()) or "default"


@pytest.mark.filterwarnings("ignore:block_size")
@pytest.mark.parametrize("name, more", CASES, ids=label)
def test_a_short_run_lowers_the_loss_and_moves_every_parameter(name, more):
    """The target is a function of all frames, so the models have to look beyond the last one."""
    model = SMALL[name].build(**more, dropout=0.0).train()
    x = SMALL[name].inputs(batch=4, seq=20)
    output = model(*x)
    target = torch.randn(x[0].shape[-1], output.shape[-1])
    linear = (x[0] if output.dim() == 3 else x[0].mean(1)) @ target
    wanted = torch.tanh(linear).abs()  # hybrid_mlp ends in a relu and gives nothing below 0
    before = {key: p.detach().clone() for key, p in model.named_parameters()}
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(40):
        loss = (model(*x) - wanted).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    still = [key for key, p in model.named_parameters() if torch.equal(p, before[key])]
    assert not still


@pytest.mark.parametrize("name", SMALL)
def test_dropout_in_training_only(name):
    model, x = SMALL[name].build(dropout=0.5), SMALL[name].inputs(batch=4, seq=20)
    assert not torch.equal(model.train()(*x), model(*x))
    assert torch.equal(model.eval()(*x), model(*x))


@pytest.mark.parametrize("name", SMALL)
def test_without_dropout_training_gives_the_numbers_of_evaluation(name):
    model, x = SMALL[name].build(dropout=0.0), SMALL[name].inputs(batch=4, seq=20)
    torch.testing.assert_close(model.train()(*x), model.eval()(*x), rtol=0, atol=1e-6)


def test_dropout_rate_on_attention_weights():
    """dms with value = ones and the projection an identity gives each row's sum of weights: its mean is 1."""
    model = SMALL["dms-masked"].build(dropout=0.25, attn_bias=True).train()
    with torch.no_grad():
        model.value.weight.zero_()
        model.value.bias.fill_(1)
        model.projection.weight.copy_(torch.eye(8))
        model.projection.bias.zero_()
    x = torch.randn(1, 400, 8)
    sums = model(
        x, torch.randn(1, 200, 8), torch.zeros(1, 200, 8), torch.ones(1, 1, 1, 200, dtype=torch.bool)
    )
    # 400 rows * 2 heads of 200 weights each kept with p = .75: the mean's deviation is about .003 at most.
    assert abs(sums.mean().item() - 1) < 0.02
    assert sums.std() > 0.01
