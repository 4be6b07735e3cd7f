"""What an export is asked for, and the declaration that it means."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import nn

from temport.exporter.compilers.contract import CompileOptions
from temport.exporter.declare import weights
from temport.exporter.declare.architectures import declare
from temport.exporter.declare.declaration import DIALECTS, PRECISIONS, Declaration
from temport.exporter.declare.modules import declare_module
from temport.exporter.declare.streams import declare_stream
from temport.exporter.errors import UserError


@dataclass(frozen=True)
class ExportRequest:
    """What `temport export` was asked for; texts are as typed, `declare` gives them meaning."""

    arch: str | None = None
    module: str | None = None
    shapes: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    batch: str = "1"
    seq: str = "60"
    memory: str | None = None
    ops: str = "custom"
    opset: int = 20
    without: tuple[str, ...] = ()
    keep_passes: Path | None = None
    seed: int = 0
    weights: Path | None = None
    weights_layout: str = "own"
    out: Path | None = None
    runtimes: tuple[str, ...] = ()
    inputs: tuple[Path, ...] = ()
    external_data: bool = False
    streaming: bool = False
    precision: str = "fp32"
    target: str | None = None
    compile: CompileOptions = field(default_factory=CompileOptions)


def declared(request: ExportRequest) -> tuple[Declaration, nn.Module]:
    """The declaration and its module, weights loaded."""
    if (request.arch is None) == (request.module is None):
        raise UserError("give either --arch or --module; `temport list` names the architectures")
    if request.weights_layout not in weights.LAYOUTS:
        raise UserError(
            f"--weights-layout {request.weights_layout!r} is unknown; give {' or '.join(weights.LAYOUTS)}"
        )
    if request.module is not None:
        if request.weights_layout != "own" or request.settings or request.memory:
            raise UserError(
                "--set, --memory and --weights-layout belong to --arch; leave them out with --module"
            )
        config = None
        declaration, module = declare_module(
            request.module,
            request.shapes,
            batch=request.batch,
            seq=request.seq,
            opset=request.opset,
            ops=request.ops,
            seed=request.seed,
        )
    else:
        assert request.arch is not None
        declaration, module, config = declare(
            request.arch,
            request.settings,
            batch=request.batch,
            seq=request.seq,
            memory=request.memory,
            opset=request.opset,
            ops=request.ops,
            seed=request.seed,
        )
    source = "seed"
    if request.weights is not None:
        weights.fill(module, request.weights, request.weights_layout, declaration.arch, config)
        source = weights.fingerprint(module)
    elif request.weights_layout != "own":
        raise UserError("--weights-layout says how to read --weights, and no --weights was given")
    if request.ops not in DIALECTS:
        raise UserError(f"--ops {request.ops!r} is unknown; give one of {', '.join(DIALECTS)}")
    if request.precision not in PRECISIONS:
        raise UserError(f"--precision {request.precision!r} is unknown; give {', '.join(PRECISIONS)}")
    precision = PRECISIONS[request.precision]
    declaration = replace(declaration, weights=source, without=request.without, precision=precision)
    return (declare_stream(declaration, module) if request.streaming else declaration), module


def default_out(declaration: Declaration) -> Path:
    name = declaration.module.rpartition(":")[2] if declaration.module else declaration.arch
    if declaration.streaming:
        return Path("bundles") / f"{name}-streaming"
    return Path("bundles") / f"{name}-seq{str(declaration.axes['seq']).replace(':', '-')}"
