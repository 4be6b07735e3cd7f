"""Every float16 as a float32, where kernels have no instruction for it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np

from tests.deploy.toolchain import need

CUSTOM_OPS = Path(__file__).parents[2] / "custom_ops"
PROGRAM = """
#include <cstdio>
#include "engine/run.h"
#include "native/convert.h"

int main() {
  const temport::TEMPORT_ISA::FloatMode guard;
  for (int h = 0; h < 65536; ++h) {
    const float x = temport::TEMPORT_ISA::half_to_float(uint16_t(h));
    std::fwrite(&x, sizeof x, 1, stdout);
  }
}
"""


def test_a_half_is_the_same_number_where_subnormal_floats_are_zero(tmp_path: Path) -> None:
    """As they are while an engine runs: halves below 2^-14 stay what they are all the same."""
    source, program = tmp_path / "halves.cc", tmp_path / "halves"
    source.write_text(PROGRAM)
    options = ["-std=gnu++17", "-O2", "-DTEMPORT_ISA=portable", f"-I{CUSTOM_OPS}"]
    subprocess.run([need("g++"), *options, str(source), "-o", str(program)], check=True)
    found = np.frombuffer(subprocess.run([program], check=True, capture_output=True).stdout, np.float32)
    halves = np.arange(65536, dtype=np.uint16).view(np.float16)
    np.testing.assert_array_equal(found, halves.astype(np.float32))
