"""Sinusoidal positional encoding with a hyperbolic frequency ladder, sine only."""

from __future__ import annotations

import torch
from torch import Tensor

from temport.graphs.baking import LengthTable
from temport.graphs.streaming import Memory, Stateful, StateSpec

RADIX, DIGITS = 128, 3
STREAM_FRAMES = RADIX**DIGITS
"""Positions of a stream count modulo this: 2,097,152 frames, 9.7 hours at 60 frames a second."""


def sinusoid(length: int, width: int, scale: float, device: torch.device | None = None) -> Tensor:
    """float64 `[length, width]`: sin(t / (1 + d*scale)).

    Always float64: a float32 angle of 1000 radians is already off by 3e-5.
    """
    t = torch.arange(length, dtype=torch.float64, device=device)
    d = torch.arange(width, dtype=torch.float64, device=device)
    return torch.sin(t[:, None] / (1 + d * scale))


def add_positional_encoding(x: Tensor, *, scale: float = 0.01) -> Tensor:
    """x `[batch, seq, width]` plus the encoding of its positions, in the dtype of x."""
    return x + sinusoid(x.shape[1], x.shape[2], scale, x.device).to(x.dtype)


class PositionalEncoding(LengthTable, Stateful):
    """The encoding of a fixed width, `[n, width]`; in a stream, that of one position at a time."""

    counts_frames = True
    exact_frames = (STREAM_FRAMES, "positions count from 0 again")

    def __init__(self, width: int, *, scale: float = 0.01) -> None:
        super().__init__()
        self.width, self.scale = width, scale
        self.digits = DigitTable(width, scale)

    def compute(self, length: int) -> Tensor:
        return sinusoid(length, self.width, self.scale, self.like.device)

    def state_specs(self) -> tuple[StateSpec, ...]:
        return ()

    def advance(self, memory: Memory) -> Tensor:
        """The encoding of this frame, `[batch, 1, width]`, at the number of frames before it as its position.

        No table reaches as far as a stream, and the sine of a large angle is lost in float32. So the position
        is cut into three digits, position = a + 128 b + 128^2 c, and the sine of the sum of their angles is
        taken apart:
        sin(A+B+C) = sinA cosB cosC + cosA sinB cosC + cosA cosB sinC - sinA sinB sinC.
        """
        position = memory.frames()
        row = RADIX * torch.arange(DIGITS, device=position.device)
        # no power of a range, which torch's Inductor compiles to other numbers
        place = torch.tensor([RADIX**digit for digit in range(DIGITS)], device=position.device)
        # A remainder is not negative, so its truncated quotient, which ONNX has as one operator, is the digit.
        digits = torch.div(position % (RADIX * place), place, rounding_mode="trunc")
        factors = self.digits(RADIX)[digits + row]  # [batch, 3, 4, width]
        return factors.prod(dim=1).sum(dim=1).unsqueeze(1)


class DigitTable(LengthTable):
    """Factors of the four products above, `[3 * 128, 4, width]`: row 128 n + i belongs to digit i at place n."""

    def __init__(self, width: int, scale: float) -> None:
        super().__init__()
        self.width, self.scale = width, scale

    def compute(self, length: int) -> Tensor:
        d = torch.arange(self.width, dtype=torch.float64, device=self.like.device)
        rows = []
        for place in range(DIGITS):
            positions = RADIX**place * torch.arange(length, dtype=torch.float64, device=self.like.device)
            angle = positions[:, None] / (1 + d * self.scale)
            sin, cos = torch.sin(angle), torch.cos(angle)
            rows.append(((sin, cos, cos, -sin), (cos, sin, cos, sin), (cos, cos, sin, sin))[place])
        return torch.cat([torch.stack(row, dim=1) for row in rows])

    def bake(self, length: int) -> None:
        """Its length is that of a digit, whatever the length of a sequence."""
        super().bake(RADIX)
