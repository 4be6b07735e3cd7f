"""The instruction sets that an engine can be built for, and what its source and weights depend on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Isa:
    """One instruction set.

    name     what `TEMPORT_ISA` is in the source
    panel    columns of a packed weight that lie together, `kPanel` of custom_ops/native/simd.h
    flags    of GCC and Clang
    machine  `platform.machine()` where it is found; empty: any
    """

    name: str
    panel: int
    flags: tuple[str, ...]
    machine: str = ""


ISAS = {
    isa.name: isa
    for isa in (
        Isa(
            "avx512",
            64,
            ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx2", "-mfma", "-mf16c"),
            "x86_64",
        ),
        Isa("avx2", 16, ("-mavx2", "-mfma", "-mf16c"), "x86_64"),
        Isa("sse42", 8, ("-msse4.2",), "x86_64"),
        Isa("neon", 16, (), "aarch64"),
        Isa("portable", 8, ()),
    )
}
