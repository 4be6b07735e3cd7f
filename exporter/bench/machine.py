"""The two rates that bound every kernel on this machine, measured."""

from __future__ import annotations

import ctypes

import torch

from temport.exporter.bench.timing import interleaved
from temport.exporter.errors import UserError
from temport.exporter.runtimes.libraries import ops_library


def peak_flops(trials: int = 200) -> float:
    """FLOP/s of one thread on registers alone, with the vectors that our kernels use here."""
    path = ops_library()
    if path is None:
        raise UserError("The native op library is not built; pip install . builds it.")
    library = ctypes.CDLL(str(path))
    library.temport_peak_flops.restype = ctypes.c_double
    return float(library.temport_peak_flops(ctypes.c_int(trials)))


def read_bandwidth(size: int, threads: int) -> float:
    """Bytes per second at which up to `threads` threads read `size` bytes again and again: from the caches where
    they fit, as the weights of a small model do. The fastest of many sums of float32."""
    block = torch.ones(max(1, size // 4))
    fastest = []
    for count in {1, threads}:  # a block can be too small for more threads to pay
        torch.set_num_threads(count)
        fastest.append(interleaved({"sum": block.sum}, seconds=0.3)["sum"].minimum)
    return 4 * block.numel() / min(fastest)
