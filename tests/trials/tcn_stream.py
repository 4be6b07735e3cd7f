# source: paul-krug/pytorch-tcn#17, locuslab/TCN#42, Neutone/neutone_sdk#64, wenet-e2e/wenet#1021
# wanted: a causal dilated TCN with weight norm, exported as a whole-sequence model and frame by frame (--streaming).
# right:  whole: == torch for every seq. Streaming: one frame in, one out, buffers of (kernel-1)*dilation frames as
#         state; or one sentence that says which layer cannot stream and what to write (README: forward_sequence).
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import weight_norm


class Tcn(nn.Module):
    def __init__(self, features=12, width=24, kernel=3, dilations=(1, 2, 4)):
        super().__init__()
        self.kernel, self.dilations = kernel, dilations
        self.into = nn.Linear(features, width)
        self.convs = nn.ModuleList(
            weight_norm(nn.Conv1d(width, width, kernel, dilation=d)) for d in dilations
        )
        self.head = nn.Linear(width, 4)

    def forward(self, frames):
        x = self.into(frames).transpose(1, 2)
        for conv, dilation in zip(self.convs, self.dilations, strict=True):
            x = x + torch.relu(conv(F.pad(x, ((self.kernel - 1) * dilation, 0))))
        return self.head(x.transpose(1, 2))


def make():
    return Tcn()


def example(batch, seq, dtype=torch.float32):
    return (torch.randn(batch, seq, 12, dtype=dtype),)
