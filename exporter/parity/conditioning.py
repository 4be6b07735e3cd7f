"""How strongly a model's outputs answer to rounding of its inputs."""

from __future__ import annotations

import zlib

import numpy as np

from temport.exporter.parity.cases import Case
from temport.exporter.parity.compare import EPS
from temport.exporter.runtimes.contract import Arrays

JITTERS = 3
"""Jittered copies per case: the worst of them stands for the neighbourhood of the input."""
JITTERS_OF_NOISE = 11
"""Copies that say how torch's errors are spread; they add nothing to the largest error allowed. Of 1900 healthy runs
the worst used 1.05 of a bound of the root mean square made from 3 copies, 0.68 from 7, 0.63 from 15 or 23."""
JITTERS_OF_SENSITIVE = 23
"""Copies where torch_error outgrows the fixed floor of the bound. There the error is ruled by a few elements
that amplify rounding, and the worst of 4 draws was measured at half the worst of 24; below the floor the two
differ by a fraction of it."""


def jittered(case: Case, draw: int, precision: str) -> Arrays:
    """The case with each floating-point input x replaced by x*(1 +- eps), signs drawn at random by `draw`.

    eps is that of the model's `precision`, so every value moves by one or two units in the last place. Masks and
    integers stay as they are.
    """
    rng = np.random.default_rng([zlib.crc32(case.name.encode()), draw])
    moved: Arrays = {}
    for name, array in case.inputs.items():
        if array.dtype.kind in "biu":
            moved[name] = array
            continue
        signs = rng.choice(np.array([-1.0, 1.0]), size=array.shape)
        changed = array.astype(np.float64) * (1 + EPS[precision] * signs)
        moved[name] = np.asarray(changed.astype(array.dtype, order="C"))
    return moved


def amplification(response: float, scale: float, precision: str) -> float:
    """Relative response of an output in units of the relative change of the inputs: 1 is neutral."""
    return response / (EPS[precision] * scale) if scale > 0 else 0.0
