"""The policy of RecurrentPPO of the package sb3-contrib: one observation and the states of two LSTMs -> action, value,
the states after it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from sb3_contrib.ppo_recurrent.policies import MlpLstmPolicy
from torch import Tensor, nn

OBSERVED, ACTIONS, HIDDEN, STEPS = 31, 8, 256, 20
STATES = tuple(f"{which}.{place}" for which in ("pi", "vf") for place in range(2))


class Acting(nn.Module):
    """What `policy.predict(obs, states, episode_starts, deterministic=True)` and `policy.predict_values` compute.

    The policy's own methods branch on the values of `episode_starts`; for one step this is the same without a branch.
    """

    def __init__(self, policy: Any) -> None:
        super().__init__()
        self.policy = policy

    def forward(self, obs: Tensor, states: RNNStates, episode_starts: Tensor) -> dict[str, Any]:
        policy = self.policy
        features = policy.extract_features(obs)
        kept = 1.0 - episode_starts.float()[:, None]
        pi, pi_states = policy.lstm_actor(features[None], tuple(kept * state for state in states.pi))
        vf, vf_states = policy.lstm_critic(features[None], tuple(kept * state for state in states.vf))
        latent = policy.mlp_extractor.forward_actor(pi[0])
        action = policy._get_action_dist_from_latent(latent).mode()
        return {
            "action": action.clamp(-1.0, 1.0),
            "value": policy.value_net(policy.mlp_extractor.forward_critic(vf[0])),
            "next": RNNStates(pi_states, vf_states),
        }


def make() -> nn.Module:
    observation, action = spaces.Box(-np.inf, np.inf, (OBSERVED,)), spaces.Box(-1.0, 1.0, (ACTIONS,))
    return Acting(MlpLstmPolicy(observation, action, lambda _: 3e-4, lstm_hidden_size=HIDDEN))


def difference(model: Any, run: Any) -> float:
    """Of `run(inputs) -> outputs` from `predict` of the package, over steps of three robots, each with its states."""
    random = np.random.default_rng(0)
    states = {name: np.zeros((1, 3, HIDDEN), np.float32) for name in STATES}
    own, worst = None, 0.0
    for step in range(STEPS):
        obs = random.standard_normal((3, OBSERVED)).astype(np.float32)
        starts = random.random(3) < (1.0 if step == 0 else 0.2)
        action, own = model.policy.predict(obs, own, starts, deterministic=True)
        given = {f"states.{name}": state for name, state in states.items()}
        outputs = run({"obs": obs, "episode_starts": starts, **given})
        with torch.no_grad():
            critic = tuple(torch.from_numpy(states[name]) for name in STATES[2:])
            value = model.policy.predict_values(
                torch.from_numpy(obs), critic, torch.from_numpy(starts).float()
            )
        states = {name: outputs[f"next.{name}"] for name in STATES}
        for ours, theirs in (
            (outputs["action"], action),
            (outputs["value"], value.numpy()),
            (states["pi.0"], own[0]),
            (states["pi.1"], own[1]),
        ):
            worst = max(worst, float(np.abs(ours - theirs).max() / np.abs(theirs).max()))
    return worst
