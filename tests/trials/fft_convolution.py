# source: HazyResearch/m2#16, pytorch/pytorch#149332 (long convolutions by FFT); a learned EMA / S4-like kernel
# wanted: causal long convolution by rfft/irfft over the whole window, as S4, Hyena and Mega train.
# right:  == torch at seq 60, or one sentence that names aten.fft_rfft and offers a convolution; never a traceback.
import torch
from torch import nn


class LongConvolution(nn.Module):
    def __init__(self, width=16, states=4):
        super().__init__()
        self.decay, self.gain = (
            nn.Parameter(torch.rand(width, states)),
            nn.Parameter(torch.randn(width, states)),
        )
        self.out = nn.Linear(width, width)

    def forward(self, frames):
        seq = frames.shape[1]
        power = torch.arange(seq, device=frames.device)
        kernel = (self.gain.unsqueeze(-1) * torch.sigmoid(self.decay).unsqueeze(-1) ** power).sum(1)
        x = frames.transpose(1, 2)
        spectrum = torch.fft.rfft(x, n=2 * seq) * torch.fft.rfft(kernel, n=2 * seq)
        return self.out(torch.fft.irfft(spectrum, n=2 * seq)[..., :seq].transpose(1, 2))


def make():
    return LongConvolution()


def example(batch, seq, dtype=torch.float32):
    return (torch.randn(batch, seq, 16, dtype=dtype),)
