"""`temport certify`: each condition of a certificate fails for an engine that breaks it."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from temport.exporter.certify.certificate import checks, verdict
from temport.exporter.certify.measure import CONDITIONS, Measured, Times, measure
from temport.exporter.certify.page import picture
from temport.exporter.native.amalgam import ROOT
from temport.exporter.native.toolchain import Toolchain

ENGINE = r"""
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "temport_engine.h"
static const int64_t shape[] = {1, 4};
static const int32_t axes[] = {-1, -1};
static const char* const names[] = {0, 0};
static const temport_engine_tensor tensor[] = {{"x", 1, 2, shape, axes, names}};
static void reset(void* m) { memset(m, 0, 16); }
static void load(void* m, const int64_t* s, const void* const* t) { (void)s; memcpy(m, t[0], 16); }
static void store(const void* m, const int64_t* s, void* const* t) { (void)s; memcpy(t[0], m, 16); }
static temport_engine_code run(void* m, const int64_t* s, const void* const* in, void* const* out, uint32_t flags) {
  const float* x = in[0];
  float* state = m;
  (void)s, (void)flags;
  for (int i = 0; i < 4; ++i) if (x[i] - x[i] != 0.0f) { BAD_FRAME; return TEMPORT_ENGINE_NONFINITE; }
  FRAME;
  for (int i = 0; i < 4; ++i) ((float*)out[0])[i] = state[i] = x[i] + DECAY * state[i];
  return TEMPORT_ENGINE_OK;
}
static const temport_engine table = {TEMPORT_ENGINE_ABI, "0", "0", "portable", 16, 64, 16, 0, 0, 1, 1, 1, 0, tensor,
                                     tensor, tensor, reset, run, load, store};
const temport_engine* temport_engine_of_this_library(void) { return &table; }
"""
BROKEN = {
    "": [],
    "-DFRAME=free(malloc((size_t)x[0]+9))": ["allocations", "symbols"],
    "-DFRAME=usleep(0)": ["system calls", "symbols"],
    "-DBAD_FRAME=state[1]+=1": ["NaN and infinity"],
    "-DDECAY=0.7f": ["silence"],
}


@pytest.mark.parametrize(("change", "failing"), BROKEN.items())
def test_an_engine_that_breaks_a_condition_is_told(change: str, failing: list[str], tmp_path: Path) -> None:
    library = tmp_path / "engine.so"
    definitions = ["-DFRAME=", "-DBAD_FRAME=", "-DDECAY=0"]
    kept = [d for d in definitions if d.split("=")[0] != change.split("=")[0]]
    flags = [
        "-shared",
        "-nostartfiles",
        "-fno-stack-protector",
        "-fPIC",
        "-O1",
        "-fno-builtin-malloc",
        f"-I{ROOT / 'engine'}",
        "-x",
        "c",
        "-",
    ]
    subprocess.run(
        ["cc", *kept, *([change] if change else []), *flags, "-o", library],
        input=ENGINE,
        text=True,
        check=True,
    )
    measured = measure(ROOT / "engine", library, 2000, 20000.0, None, None)
    found = checks(measured, 1.0, 1.0)
    assert [check.name for check in found if not check.holds] == failing, found
    assert set(measured.times) == set(CONDITIONS)
    assert 0 < measured.load < 1e9 and measured.stack < 4096
    assert "svg" in picture(measured, 1.0)


def test_symbols_and_budget() -> None:
    times = {name: Times(9, tuple(range(1000, 11000, 1000))) for name in CONDITIONS}
    measured = Measured(1, True, 0, 1, True, 0, 0, ("memcpy",), times)
    foreign = replace(measured, undefined=("expf",))
    assert verdict(checks(measured, 1000, 9e-6), times["steady"]).startswith("certified: 9 frames")
    assert verdict(checks(foreign, 1000, 8e-6), times["steady"]) == "not certified: symbols, budget"
    assert "this host interrupts" in checks(measured, 1000, 8e-6)[-1].told


def test_the_toolchain_says_what_a_library_wants(tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text("double exp(double); double f(double x) { return exp(x); }")
    tools = Toolchain.found("cc")
    assert tools.undefined(tmp_path / tools.compile(tmp_path, "a.c", [])) == ["exp"]
