"""A module whose code names float32, makes tensors of no stated type and builds a distribution, as policies do."""

import numpy as np
import torch
from torch import nn
from torch.distributions import Normal

import temport


class Policy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, obs):
        hidden = self.layer(obs.float() + torch.zeros(obs.shape[0], 3))
        share = torch.softmax(hidden, -1, dtype=torch.float32)
        policy = Normal(hidden * torch.arange(3).to(torch.float32) / 3, share + 0.01)
        return {"mean": policy.mean, "entropy": policy.entropy()}


def test_the_oracle_rounds_nowhere_and_the_graph_checks_no_values(tmp_path) -> None:
    torch.manual_seed(0)
    policy, checks = Policy(), Normal._validate_args
    bundle = temport.export(
        policy,
        {"obs": torch.zeros(1, 3)},
        axes={"obs": {0: "batch"}},
        runtimes=("onnxruntime_cpu",),
        out=tmp_path / "b",
    )
    assert bundle.passed, bundle.report.reasons
    assert torch.get_default_dtype() == torch.float32 and Normal._validate_args == checks
    weight, bias = (p.detach().numpy().astype(np.float64) for p in policy.layer.parameters())
    recorded = np.load(tmp_path / "b" / "vectors.npz")
    cases = {key.partition("/")[0] for key in recorded}
    for case in cases:
        hidden = recorded[f"{case}/input/obs"].astype(np.float64) @ weight.T + bias
        exact = hidden * np.arange(3) / 3
        error = np.abs(recorded[f"{case}/output/mean"] - exact).max()
        assert error <= 1e-14 * np.abs(exact).max(), case
