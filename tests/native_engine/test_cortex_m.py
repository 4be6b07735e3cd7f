"""An engine on a microcontroller: no C library, no heap, and the bits of a large processor.

Needs what is too large for every test run: `apt-get install --no-install-recommends gcc-arm-none-eabi qemu-system-arm`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.native_engine.targets import StepModel, call, drive

HERE = Path(__file__).parent
NEEDED = ("arm-none-eabi-g++", "qemu-system-arm")
MISSING = [program for program in NEEDED if shutil.which(program) is None]

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"{', '.join(MISSING)} is not installed")


@pytest.mark.parametrize(
    ("processor", "unit", "board"),
    [
        pytest.param("cortex-m7", "fpv5-sp-d16", "mps2-an500", marks=pytest.mark.thorough),
        ("cortex-m4", "fpv4-sp-d16", "mps2-an386"),
    ],
)
def test_the_bits_of_a_large_processor(
    model: Callable[[str], StepModel], scalar: Callable[[str], bytes], processor: str, unit: str, board: str
) -> None:
    step = model("hybrid")
    flags = [
        f"-mcpu={processor}",
        "-mthumb",
        "-mfloat-abi=hard",
        f"-mfpu={unit}",
        "-ffreestanding",
        "-fno-pic",
    ]
    engine = step.portable(processor, "arm-none-eabi-g++", *flags)
    lacking = call("arm-none-eabi-nm", "--undefined-only", "--format=posix", "model.o", cwd=engine).split()[
        ::2
    ]
    assert {*lacking} <= {"memcpy", "memset", "__aeabi_ldivmod", "__aeabi_uldivmod", "model_weights"}
    code = int(call("arm-none-eabi-size", "model.o", cwd=engine).split()[6])
    assert code < 80 << 10
    own = [str(HERE / name) for name in ("driver.c", "cortex_m.c")]
    bare = ["-nostdlib", "-I.", f"-T{HERE / 'cortex_m.ld'}", *own, "libmodel.a", "-lgcc", "-o", "driver"]
    call("arm-none-eabi-gcc", *flags, "-O1", *bare, cwd=engine)
    qemu = ["qemu-system-arm", "-M", board, "-nographic", "-monitor", "none", "-serial", "none"]
    semihosting = ["-semihosting-config", "enable=on,target=native", "-kernel", "driver"]
    assert drive([*qemu, *semihosting], engine, step.frames()) == scalar("hybrid")
