# source: huggingface/optimum#2038, takuseno/d3rlpy#390, huggingface/transformers.js#795
# wanted: decision transformer for a game agent: states, actions, returns, int64 timesteps, bool mask of valid steps;
#         three predictions out. The context is filled from the left, so early steps are padding.
# right:  three outputs (state, action, return predictions) in that order, causal over interleaved tokens; padded steps
#         do not change valid ones; timesteps outside the table raise.
import torch
from torch import nn


class DecisionTransformer(nn.Module):
    def __init__(self, state=17, action=6, width=48, heads=2, horizon=200):
        super().__init__()
        self.state_in, self.action_in, self.return_in = (nn.Linear(n, width) for n in (state, action, 1))
        self.time = nn.Embedding(horizon, width)
        self.norm = nn.LayerNorm(width)
        layer = nn.TransformerEncoderLayer(
            width, heads, 96, batch_first=True, activation="gelu", norm_first=True
        )
        self.blocks = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.state_out, self.action_out, self.return_out = (nn.Linear(width, n) for n in (state, action, 1))

    def forward(self, states, actions, returns, timesteps, valid):
        batch, seq = timesteps.shape
        when = self.time(timesteps)
        tokens = torch.stack([self.return_in(returns), self.state_in(states), self.action_in(actions)], 2)
        tokens = self.norm((tokens + when.unsqueeze(2)).reshape(batch, 3 * seq, -1))
        causal = torch.ones(3 * seq, 3 * seq, dtype=torch.bool, device=tokens.device).triu(1)
        padding = (~valid).repeat_interleave(3, dim=1)
        x = self.blocks(tokens, mask=causal, src_key_padding_mask=padding).view(batch, seq, 3, -1)
        return (
            self.state_out(x[:, :, 2]),
            torch.tanh(self.action_out(x[:, :, 1])),
            self.return_out(x[:, :, 2]),
        )


def make():
    return DecisionTransformer()


def example(batch, seq, dtype=torch.float32):
    r = lambda *s: torch.randn(*s, dtype=dtype)  # noqa: E731
    valid = torch.ones(batch, seq, dtype=torch.bool)
    return r(batch, seq, 17), r(batch, seq, 6), r(batch, seq, 1), torch.randint(0, 200, (batch, seq)), valid
