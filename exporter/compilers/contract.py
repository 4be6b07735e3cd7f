"""The contract of a compiler: what it can take, what it is asked, what it answers.

A compiler is one file (`tensorrt_rtx.py`, `tensorrt.py`) that fills in a `Backend`; everything else
(lowering, linter, subprocess, report) reads that table and is shared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from temport.exporter.errors import UserError

_NO_TENSOR_COPIES = "75"
"""The compute capability without the asynchronous copies that our kernels are built on."""

LONGEST_BUILD = 7 * 24 * 3600
"""Seconds; the alarm that ends a build takes no number whatever."""

OnPhase = Callable[[str, int, int], None]
"""`progress(phase, step, steps)`: called many times during a build, from the calling thread."""


class CompileError(UserError):
    """The engine could not be built, or what was built is not what was asked for."""


@dataclass(frozen=True)
class Backend:
    """What one TensorRT flavour takes.

    name                  target name on the command line and in file names
    module                Python module with the bindings
    libraries             package that holds the shared libraries (the bindings' own when empty)
    opsets                first and last ai.onnx opset its parser reads
    element_types         ONNX element types it computes with, as the graph says them
    fused_types           element types in which `Attention` becomes one kernel
    fused_head_dims       smallest and largest head dimension of that kernel
    compute_capabilities  targets an ahead-of-time build may name; empty: it builds for the present GPU
    refused_ops           operators its parser refuses, with what to do instead
    unavailable           why it cannot compile here, or None
    options               names of the `CompileOptions` that mean something to it
    """

    name: str
    module: str
    libraries: str
    opsets: tuple[int, int]
    element_types: frozenset[str]
    fused_types: frozenset[str]
    fused_head_dims: tuple[int, int]
    compute_capabilities: tuple[str, ...]
    refused_ops: Mapping[str, str]
    unavailable: Callable[[], str | None]
    options: frozenset[str]

    def unfused(self, element_type: str, head_dim: int) -> str:
        """Why an `Attention` of these is not one kernel; empty where it is."""
        low, high = self.fused_head_dims
        if element_type not in self.fused_types:
            known = "float32" if element_type == "FLOAT" else element_type.lower()
            return f"{self.name} has no fused kernel for {known}; --precision fp16 or bf16 has one"
        if not low <= head_dim <= high:
            return f"head dim {head_dim} is outside {low} to {high}, which the fused kernel takes"
        return ""


def _flags(names: Iterable[str]) -> str:
    """Options as they are typed."""
    typed = {"compute_capabilities": "compute_capability"}
    return ", ".join("--" + typed.get(name, name).replace("_", "-") for name in names)


@dataclass(frozen=True)
class CompileOptions:
    """Options of a build; one left at its default is the backend's own default.

    compute_capabilities  e.g. ("86", "89"); the engine carries code for each
    optimization_level    0..5, build time against run time
    workspace_mib         upper limit of scratch memory
    build_timeout         seconds after which a build that has not ended is ended
    timing_cache          file read before and written after the build
    plugin                library exporting `getCreators`; its kernels replace the fused attention
    aot_plugin            the same kernels as PTX inside the engine, which then needs no library of ours
    """

    compute_capabilities: tuple[str, ...] = field(default=(), metadata={"option": "compute-capability"})
    optimization_level: int | None = None
    workspace_mib: int | None = None
    timing_cache: Path | None = None
    plugin: Path | None = None
    aot_plugin: bool = False
    build_timeout: int = 1800
    cc: str | None = None
    toolchain: Path | None = None
    engine_isa: str | None = None
    engine_threads: int = 1
    source_only: bool = False

    def given(self) -> set[str]:
        """Names of the options that are not left at their default."""
        return {f.name for f in fields(self) if getattr(self, f.name) != f.default}

    def check_without_target(self) -> None:
        """Refuse options of a build where nothing is built."""
        if given := sorted(self.given()):
            raise UserError(f"{_flags(given)} says how an engine is built; add --target, or leave it out")

    def check_known(self, target: str, options: frozenset[str]) -> None:
        """Refuse an option that the target would ignore; `options` are those that mean something to it."""
        if ignored := sorted(self.given() - options):
            raise UserError(f"{target} has no {_flags(ignored)}; it takes {_flags(sorted(options))}")

    def check(self, backend: Backend) -> None:
        """Refuse an option that the backend would ignore or cannot take."""
        self.check_known(backend.name, backend.options)
        if unknown := sorted(set(self.compute_capabilities) - set(backend.compute_capabilities)):
            raise UserError(
                f"{backend.name} cannot build for compute capability {', '.join(unknown)}; "
                f"it can for {', '.join(backend.compute_capabilities)}"
            )
        if self.plugin is not None and self.aot_plugin:
            raise UserError("give a plugin library or ask for kernels inside the engine, not both")
        if self.plugin is not None and _NO_TENSOR_COPIES in self.compute_capabilities:
            raise UserError(
                "the plugin library needs compute capability 8.0 or newer; leave 75 out or the plugin"
            )
        if self.optimization_level is not None and not 0 <= self.optimization_level <= 5:
            raise UserError(f"optimization level {self.optimization_level} is outside 0 to 5")
        if self.workspace_mib is not None and self.workspace_mib < 1:
            raise UserError(f"workspace {self.workspace_mib} MiB is too small; give 1 or more")
        if not 1 <= self.build_timeout <= LONGEST_BUILD:
            raise UserError(
                f"build timeout {self.build_timeout} s is not from 1 to {LONGEST_BUILD}, which is a week"
            )
        if self.timing_cache is not None and (
            self.timing_cache.is_dir() or not self.timing_cache.parent.is_dir()
        ):
            raise UserError(
                f"timing cache {self.timing_cache} cannot be a file; name one in a directory that exists"
            )
        if self.plugin is not None and not self.plugin.is_file():
            raise UserError(f"plugin library {self.plugin} does not exist; build it with custom_ops/cuda")


@dataclass(frozen=True)
class EngineReport:
    """One built engine, as `engine.json` holds it.

    attention   per attention node: what it became, why not one kernel where it is not, and its engine layers
    masks       per mask constant: shape, element type, bytes, share of allowed pairs, sha256
    layers      the engine's layers: name, type, element types, ONNX nodes, constants
    precision   element type -> number of layers that compute in it
    constants   element type -> bytes of the constants that layers read, which weights are
    products    per product with a weight: type of its input and of its weight in the file, what the engine holds of
                the weight, and what it multiplies
    """

    target: str
    file: str
    sha256: str
    bytes: int
    model_sha256: str
    build_seconds: float
    versions: dict[str, str]
    compute_capabilities: tuple[str, ...]
    profiles: dict[str, dict[str, list[int]]]
    options: dict[str, Any]
    attention: list[dict[str, Any]]
    masks: list[dict[str, Any]]
    layers: list[dict[str, Any]]
    precision: dict[str, int]
    constants: dict[str, int]
    products: list[dict[str, Any]]
    warnings: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def fused(self) -> int:
        """How many attention nodes became one kernel."""
        return sum(entry["outcome"] == "fused" for entry in self.attention)

    @property
    def ours(self) -> int:
        """How many nodes run our kernels, from the plugin library or from the engine itself."""
        return sum(entry["outcome"] == "plugin" for entry in self.attention)
