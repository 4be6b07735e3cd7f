"""Whoever loads an engine knows the instruction sets that one can be built for, and says the same of this processor."""

from __future__ import annotations

import subprocess
from pathlib import Path

from temport.exporter.native.isa import ISAS, is_this_machine, isa_of
from tests.deploy.toolchain import need

ROOT = Path(__file__).parents[2]
IN_CPP = """
#include "native/processor.h"
int main(int count, char** names) {
  for (int i = 1; i < count; ++i) __builtin_printf("%s %d\\n", names[i], int(temport::processor_has(names[i])));
}
"""
IN_JAVASCRIPT = """
import { machine } from 'node:os';
import { loadEngine } from '%s';
const bundle = { file() { throw new Error('no file'); } };
for (const isa of process.argv.slice(1)) {
  const said = await loadEngine(bundle, { file: 'x.so', isa, machine: machine() }).catch((error) => error.message);
  console.log(isa, said.includes('which this one is not') ? 0 : 1);
}
"""
SETS = [name for name in ISAS if name != "wasm"]
"""WebAssembly is for no processor."""


def test_all_loaders_say_the_same(tmp_path: Path) -> None:
    right = {name: ISAS[name].runs_here() for name in SETS}
    source, program = tmp_path / "has.cc", tmp_path / "has"
    source.write_text(IN_CPP)
    subprocess.run(["g++", "-std=c++17", f"-I{ROOT / 'custom_ops'}", source, "-o", program], check=True)
    script = IN_JAVASCRIPT % (ROOT / "deploy" / "js" / "node" / "engine.mjs")
    for command in ([program], [need("node"), "--input-type=module", "-e", script]):
        done = subprocess.run([*command, *SETS, "none"], check=True, capture_output=True, text=True)
        said = dict(line.split() for line in done.stdout.splitlines())
        assert said.pop("none") == "0"
        assert {name: answer == "1" for name, answer in said.items()} == right


def test_another_machine_gets_what_all_of_its_kind_have() -> None:
    others = {
        machine: isa_of(machine).name for machine in ("aarch64", "x86_64") if not is_this_machine(machine)
    }
    assert others.items() <= {"aarch64": "neon", "x86_64": "sse42"}.items() and len(others) > 0
    assert isa_of("riscv64").name == "portable"
