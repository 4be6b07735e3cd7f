"""The instruction sets that an engine can be built for, and what its source and weights depend on."""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass, replace
from pathlib import Path

from temport.exporter.errors import UserError, did_you_mean


@dataclass(frozen=True)
class Isa:
    """One instruction set.

    name     what the source calls it
    width    floats of a vector, `kWidth` of custom_ops/native/simd.h
    panel    columns of a packed weight that lie together, `kPanel` there; with AVX-512 half of what
             large products like best, since narrow layers pay for whole panels
    flags    of GCC and Clang
    machine  `platform.machine()` where it is found; empty: any
    needs    flags (on Arm features) of /proc/cpuinfo that a processor must have
    fuses    whether it has fused multiply-adds: outputs of all that do are the same bits
    fours    whether it multiplies integers four at a time, elsewhere two
    compiler  that makes it on any machine
    """

    name: str
    width: int
    panel: int
    flags: tuple[str, ...] = ()
    machine: str = ""
    needs: frozenset[str] = frozenset()
    fuses: bool = False
    compiler: str | None = None
    fours: bool = False

    @property
    def way(self) -> str:
        """Of custom_ops/native/integer_products.h."""
        return "Fours" if self.fours else "Pairs"

    def runs_here(self) -> bool:
        return self.machine in ("", platform.machine()) and self.needs <= _cpu_flags()


_AVX512 = Isa(
    "avx512",
    16,
    32,
    ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx2", "-mfma", "-mf16c"),
    "x86_64",
    frozenset({"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx2", "fma", "f16c"}),
    fuses=True,
)
_AVX2 = Isa("avx2", 8, 16, ("-mavx2", "-mfma", "-mf16c"), "x86_64", frozenset({"avx2", "fma", "f16c"}), True)
_NEON = Isa("neon", 4, 16, (), "aarch64", fuses=True)
ISAS = {
    isa.name: isa
    for isa in (
        _AVX512,
        replace(_AVX512, name="avx512vnni", needs=_AVX512.needs | {"avx512_vnni"}, fours=True),
        _AVX2,
        replace(_AVX2, name="avx2vnni", needs=_AVX2.needs | {"avx_vnni"}, fours=True),
        Isa("sse42", 4, 8, ("-msse4.2",), "x86_64", frozenset({"sse4_2"})),
        _NEON,
        replace(_NEON, name="neondot", needs=frozenset({"asimddp"}), fours=True),
        Isa("wasm", 4, 16, ("-msimd128", "-mbulk-memory"), "wasm32", compiler="clang++"),
        Isa("portable", 4, 8),
    )
}
"""By name, the fastest first; what only some models gain by, behind what runs on more processors."""


def host_isa(integers: bool = False) -> Isa:
    """The fastest that this machine has.

    integers  for a model whose layers multiply them: one that takes four at a time, where there is one
    """
    here = [isa for isa in ISAS.values() if isa.runs_here()]
    return next((isa for isa in here if integers and isa.fours), here[0])


def isa_of(machine: str, integers: bool = False) -> Isa:
    """`host_isa` of this machine, and of another one, by `platform.machine()`, what all of its kind have."""
    if is_this_machine(machine):
        return host_isa(integers)
    of_machine = (isa for isa in ISAS.values() if isa.machine == machine)
    return min(of_machine, key=lambda isa: len(isa.needs), default=ISAS["portable"])


def is_this_machine(machine: str) -> bool:
    """Whether code for `machine`, as a compiler's target or `uname -m` says it, is for this one."""
    return _family(machine) == _family(platform.machine())


def _family(machine: str) -> str:
    """A compiler's target says `arm` of what calls itself armv7l, and i486 of an i686."""
    if machine.startswith("arm") and machine != "arm64":
        return "arm"
    return "x86" if re.fullmatch(r"i[3-6]86", machine) else machine


def isa_named(name: str) -> Isa:
    """UserError for an unknown name."""
    if name not in ISAS:
        raise UserError(f"--engine-isa {name!r} is unknown; {did_you_mean(name, list(ISAS))}")
    return ISAS[name]


def _cpu_flags() -> set[str]:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return set()
    lines = (line for line in text.splitlines() if line.startswith(("flags", "Features")))
    return {flag for line in lines for flag in line.split()}
