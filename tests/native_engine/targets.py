"""Engines of small step models for processors that this process does not run on, and the one driver that runs them."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from temport.exporter.build import save
from temport.exporter.compress.compressed import compressed
from temport.exporter.compress.sums import tensors_of
from temport.exporter.compress.wish import FIRST_OPSET
from temport.exporter.declare.architectures import declare
from temport.exporter.declare.declaration import Declaration
from temport.exporter.graph.quantised import SMALLEST
from temport.exporter.native.engine import NativeOptions, NativeReport, build_native
from temport.exporter.native.toolchain import FLAGS
from temport.exporter.streaming.declare import declare_stream
from tests.native_engine.strict import STRICT, strictly
from tests.traces import build

DRIVER = Path(__file__).with_name("driver.c")
FRAMES = 300
SMALL = {
    "sliding_window": [
        "embed_dim=20", "window_size=137", "num_heads=3", "head_dim=8", "num_layers=1", "ffn_dim=70",
    ],
    "hybrid": ["embed_dim=20", "lstm_hidden=37", "num_heads=3", "head_dim=8"],
    "mega": ["embed_dim=20", "hidden_size=40", "ema_dim=7", "num_layers=1"],
    "lightning": ["embed_dim=20", "hidden_size=40", "num_heads=2", "num_layers=1", "block_size=9"],
}  # fmt: skip
"""Sizes that are no multiple of any vector, panel or sum."""
HALF_RINGS = ("sliding_window",)
"""Those that keep keys and values in float16; `hybrid` and `lightning` have rings of float32."""
LARGEST_OF_HALVES = 1e3
"""In frames, so that no key is beyond the largest half: an infinite one makes NaN, of which there are many."""
IN_BLOCKS = ["embed_dim=48", "lstm_hidden=80", "num_heads=3", "head_dim=16"]
"""Of `hybrid`: whole blocks of inputs."""


class StepModel:
    """A step model of one stream at `path`, and engines made from it."""

    def __init__(self, path: Path, arch: str) -> None:
        """`arch` may end in `, int4`: how its weights are stored."""
        arch, _, kind = arch.partition(", ")
        declaration, module, _ = declare(arch, IN_BLOCKS if kind else SMALL[arch], batch="1", seq="37")
        if kind:
            axes = {
                name: 1
                for name, tensor in tensors_of(module).items()
                if tensor.ndim == 2 and tensor.numel() >= SMALLEST
            }
            module = compressed(module, axes, dict.fromkeys(axes, kind))
            declaration = replace(declaration, weights_dtype=kind, opset=FIRST_OPSET)
        if arch in HALF_RINGS:
            declaration = replace(declaration, kv_dtype="fp16")
        self.path = path
        self.declaration: Declaration = declare_stream(declaration, module)
        path.mkdir()
        save(build(module, self.declaration), path / "model.onnx", external_data=False)

    def engine(self, name: str, **options: object) -> tuple[Path, NativeReport]:
        """A folder called `name` with an engine; its compiler is a strict one."""
        folder = self.path / name
        folder.mkdir()
        if isinstance(options.get("cc"), str):
            options["cc"] = strictly(folder, options["cc"])
        (folder / "model.onnx").symlink_to(self.path / "model.onnx")
        report = build_native(folder, "model", self.declaration, NativeOptions(**options))
        return folder / "engine", report

    def portable(self, name: str, compiler: str, *flags: str) -> Path:
        """A folder called `name` with the source that any compiler takes, compiled into `libmodel.a`."""
        engine, _ = self.engine(name, engine_isa="portable", source_only=True)
        call(compiler, *STRICT, *FLAGS, *flags, "-c", "model.cc", cwd=engine)
        call(compiler, *flags, "-c", "weights.S", cwd=engine)
        call("ar", "rcs", "libmodel.a", "model.o", "weights.o", cwd=engine)
        return engine

    def fused(self) -> bytes:
        """What this machine gives without intrinsics, with fused multiply-adds; not optimised, for the same bits."""
        engine = self.portable("fused", "g++", "-mfma", "-O0")
        return drive([link("gcc", engine)], engine, self.frames())

    def unfused(self) -> bytes:
        """Likewise, without them."""
        engine = self.portable("unfused", "g++", "-mno-fma", "-O0")
        return drive([link("gcc", engine)], engine, self.frames())

    def frames(self) -> np.ndarray:
        """Float32 of every size: quiet and loud ones, silence, and numbers next to the smallest."""
        (spec,) = (s for s in self.declaration.inputs if not s.name.startswith("state."))
        width = spec.shape[-1]
        assert isinstance(width, int)
        rng = np.random.default_rng(3)
        frames = rng.standard_normal((FRAMES, width))
        frames[100:150] *= 10.0 ** rng.uniform(-44, 4, (50, width))
        frames[150:200] *= 10.0 ** rng.uniform(-44, 12, (50, 1))
        frames[200:240] = 0
        if self.declaration.kv_dtype != "float32":
            frames = frames.clip(-LARGEST_OF_HALVES, LARGEST_OF_HALVES)
        return frames.astype(np.float32)


def link(compiler: str, engine: Path, *flags: str) -> Path:
    """The driver with the static library in a folder."""
    program = engine / "driver"
    library = next(engine.glob("*.a"))
    call(compiler, "-O1", *flags, f"-I{engine}", str(DRIVER), str(library), "-o", str(program))
    return program


def drive(command: Sequence[str | Path], folder: Path, frames: np.ndarray) -> bytes:
    """What a driver writes for `frames`: the outputs of each, and the states after the last."""
    (folder / "inputs.bin").write_bytes(frames.tobytes())
    call(*map(str, command), cwd=folder)
    return (folder / "outputs.bin").read_bytes()


def call(*command: str, cwd: Path | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout
