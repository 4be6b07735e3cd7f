"""What an export is asked for, and the declaration that it means."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import nn

from temport.exporter.compilers.contract import CompileOptions
from temport.exporter.compress.metric import Function
from temport.exporter.compress.wish import Wish, declared_so
from temport.exporter.declare import weights
from temport.exporter.declare.architectures import declare
from temport.exporter.declare.declaration import (
    DIALECTS,
    DYNAMIC_SEQ,
    PRECISIONS,
    Axis,
    Declaration,
    TensorSpec,
)
from temport.exporter.declare.live import source_of
from temport.exporter.declare.modules import declare_live, declare_module
from temport.exporter.declare.program import SUFFIX, load_program, program_module, program_specs
from temport.exporter.errors import UserError
from temport.exporter.onnx_source.declare import declare_onnx
from temport.exporter.streaming.declare import (
    declare_stream,
    declare_window_stream,
)
from temport.exporter.streaming.half_rings import declared_halves
from temport.exporter.streaming.sequences import with_frames

USUAL: dict[str, Any] = {"batch": "1", "seq": "60", "opset": 20}
"""Of an architecture and a module, where nothing else was asked."""

SLOWEST, FASTEST = 1e-9, 1e9
"""Frames per second."""
LARGEST_SEED = 2**63 - 1
"""As large as the random generators and every reader of a manifest take it."""


def called(option: str) -> Any:
    """A field of many values, and the option that gives one of them."""
    return field(default=(), metadata={"option": option})


@dataclass(frozen=True)
class ExportRequest:
    """What `temport export` was asked for; texts are as typed, `declare` gives them meaning.

    live              a module at hand, with the inputs that it takes, in place of `arch` and `module`
    onnx              an ONNX file, in place of them
    batch, seq, opset None: 1, 60 and 20 of an architecture and a module, and as the file says of a file
    """

    arch: str | None = None
    module: str | None = None
    onnx: Path | None = None
    live: tuple[nn.Module, tuple[TensorSpec, ...]] | None = None
    shapes: tuple[str, ...] = called("shape")
    settings: tuple[str, ...] = called("set")
    batch: str | None = None
    seq: str | None = None
    memory: str | None = None
    axes: tuple[str, ...] = called("axis")
    output_names: tuple[str, ...] = ()
    dropped: tuple[str, ...] = called("drop-output")
    ops: str = "custom"
    opset: int | None = None
    without: tuple[str, ...] = ()
    keep_passes: Path | None = None
    seed: int = 0
    weights: Path | None = None
    weights_layout: str = "own"
    weights_prefix: str = ""
    out: Path | None = None
    runtimes: tuple[str, ...] = called("runtime")
    inputs: tuple[Path, ...] = called("input")
    external_data: bool = False
    streaming: bool = False
    delay: int = 0
    window: int | None = None
    rate: float | None = None
    precision: str | None = None
    weights_dtype: str | None = None
    max_loss: float | None = None
    metric: str | Function | None = None
    activations: str | None = None
    calibrate: tuple[Path, ...] = ()
    kv_dtype: str | None = None
    target: str | None = None
    compile: CompileOptions = field(default_factory=CompileOptions)


def wished(request: ExportRequest) -> Wish:
    """What was asked of weights in fewer bits."""
    assert request.weights_dtype is not None
    return Wish(
        request.weights_dtype, request.max_loss, request.metric, request.activations, request.calibrate
    )


def declared(request: ExportRequest) -> tuple[Declaration, nn.Module]:
    """The declaration and its module, weights loaded."""
    sources = (request.arch, request.module, request.onnx, request.live)
    if sum(given is not None for given in sources) != 1:
        raise UserError("give one of --arch, --module and --onnx; `temport list` names the architectures")
    rate = request.rate
    if rate is not None and not (request.streaming and SLOWEST <= rate <= FASTEST):
        raise UserError(
            f"--rate {rate:g} is not a number of frames per second of --streaming, from {SLOWEST:g} to {FASTEST:g}"
        )
    if request.window is not None:
        request = _of_window(request, request.window)
    if not 0 <= request.seed <= LARGEST_SEED:
        raise UserError(f"--seed {request.seed} is not from 0 to {LARGEST_SEED}")
    if request.weights_layout not in weights.LAYOUTS:
        raise UserError(
            f"--weights-layout {request.weights_layout!r} is unknown; give {' or '.join(weights.LAYOUTS)}"
        )
    if request.arch is None:
        if request.weights_layout != "own" or request.settings or request.memory:
            raise UserError(
                "--set, --memory and --weights-layout belong to --arch; leave them out with --module and --onnx"
            )
        config = None
        declaration, module = _own_module(request)
    else:
        if request.axes or request.shapes or request.output_names or request.dropped:
            raise UserError(
                "--shape, --axis, --output-names and --drop-output belong to --module and --onnx; leave them out with "
                "--arch"
            )
        declaration, module, config = declare(
            request.arch,
            request.settings,
            **_sizes(request),
            memory=request.memory,
            opset=_opset(request),
            ops=request.ops,
            seed=request.seed,
        )
    source = "seed" if request.live is None and request.onnx is None else weights.fingerprint(module)
    if request.weights is not None:
        weights.fill(
            module, request.weights, request.weights_layout, declaration.arch, config, request.weights_prefix
        )
        source = weights.fingerprint(module)
    elif request.weights_layout != "own" or request.weights_prefix:
        raise UserError(
            "--weights-layout and --weights-prefix say how to read --weights, and no --weights was given"
        )
    if request.ops not in DIALECTS:
        raise UserError(f"--ops {request.ops!r} is unknown; give one of {', '.join(DIALECTS)}")
    precision = declaration.precision
    if request.precision is not None:
        if request.precision not in PRECISIONS:
            raise UserError(f"--precision {request.precision!r} is unknown; give {', '.join(PRECISIONS)}")
        precision = PRECISIONS[request.precision]
    declaration = replace(
        declaration, weights=source, without=request.without, precision=precision, rate=rate or 0.0
    )
    if request.weights_dtype is not None:
        declaration = declared_so(declaration, wished(request), request.opset)
    elif request.activations is not None or request.calibrate:
        raise UserError(
            "--activations int8 is for layers whose weights are int8 too (fp8 likewise); give --weights-dtype int8 as "
            "well, and --calibrate with a recording of the model's inputs"
        )
    elif request.max_loss is not None or request.metric is not None:
        option = "--metric" if request.max_loss is None else "--max-loss"
        raise UserError(f"{option} says how much --weights-dtype may cost, and no --weights-dtype was given")
    if request.kv_dtype is not None:
        declaration = declared_halves(
            declaration,
            request.kv_dtype,
            streaming=request.streaming,
            window=request.window,
            target=request.target,
        )
    if request.delay < 0 or (request.delay and not request.streaming):
        raise UserError(f"--delay {request.delay} is not a number of frames of --streaming")
    if request.window is not None:
        return declare_window_stream(declaration, module, request.window), module
    if request.streaming:
        return declare_stream(declaration, module, request.delay), module
    return declaration, module


def _of_window(request: ExportRequest, frames: int) -> ExportRequest:
    """The request with sequences of exactly so many frames."""
    if not request.streaming or frames < 2:
        raise UserError(f"--window {frames} is not a number of frames of --streaming, 2 or more")
    if request.arch is not None or request.delay:
        raise UserError(
            "--window belongs to --module and --onnx, and waits for no frame; leave --arch and --delay out"
        )
    if request.seq not in (None, str(frames)):
        raise UserError(f"--window {frames} and --seq {request.seq} say two lengths; leave --seq out")
    if request.live is None:
        return replace(request, seq=str(frames))
    module, inputs = request.live
    return replace(request, live=(module, tuple(with_frames(spec, frames) for spec in inputs)))


def _own_module(request: ExportRequest) -> tuple[Declaration, nn.Module]:
    if request.live is not None:
        if request.axes or request.shapes:
            raise UserError("a live module has its inputs from its examples; leave shapes and axes out")
        module, inputs = request.live
        declaration, called = declare_live(
            module, source_of(module), inputs, request.output_names, request.dropped
        )
        return _as_asked(declaration, request), called
    if request.onnx is not None:
        return declare_onnx(
            request.onnx,
            request.shapes,
            batch=request.batch,
            seq=request.seq,
            axes=_axes(request.axes),
            opset=request.opset,
            ops=request.ops,
            seed=request.seed,
            names=request.output_names,
            dropped=request.dropped,
            external_data=request.external_data,
        )
    assert request.module is not None
    if request.module.endswith(SUFFIX) and not request.shapes:
        return _own_program(request, request.module)
    return declare_module(
        request.module,
        request.shapes,
        **_sizes(request),
        axes=_axes(request.axes),
        opset=_opset(request),
        ops=request.ops,
        seed=request.seed,
        names=request.output_names,
        dropped=request.dropped,
    )


def _own_program(request: ExportRequest, source: str) -> tuple[Declaration, nn.Module]:
    """A `.pt2` file with the signature that it states."""
    program = load_program(Path(source))
    asked = {n: text for n, text in (("batch", request.batch), ("seq", request.seq)) if text is not None}
    ranges = {}
    for name, text in (_axes(request.axes) | asked).items():
        axis = Axis.parse(name, text, DYNAMIC_SEQ, f"--axis {name}=")
        ranges[name] = (axis.min, axis.opt, axis.max)
    inputs = program_specs(program, ranges)
    declaration, called = declare_live(
        program_module(program), source, inputs, request.output_names, request.dropped
    )
    return _as_asked(declaration, request), called


def _as_asked(declaration: Declaration, request: ExportRequest) -> Declaration:
    """What was declared of a module at hand, for the file that was asked for."""
    return replace(declaration, opset=_opset(request), ops=request.ops, seed=request.seed)


def _sizes(request: ExportRequest) -> dict[str, str]:
    """`batch` and `seq` as texts."""
    asked = {"batch": request.batch, "seq": request.seq}
    return {name: USUAL[name] if text is None else text for name, text in asked.items()}


def _opset(request: ExportRequest) -> int:
    return USUAL["opset"] if request.opset is None else request.opset


def default_out(declaration: Declaration) -> Path:
    source = declaration.module or declaration.arch
    if declaration.of_onnx or source.endswith(SUFFIX):
        name = Path(source).stem
    else:
        name = source.rpartition(":")[2].rpartition(".")[2]
    if declaration.streaming:
        return Path("bundles") / f"{name}-streaming"
    seq = declaration.axes.get("seq")
    return Path("bundles") / (name if seq is None else f"{name}-seq{str(seq).replace(':', '-')}")


def _axes(texts: tuple[str, ...]) -> dict[str, str]:
    """`--axis past=0:16:256` by name."""
    axes = {}
    for text in texts:
        name, equals, sizes = text.partition("=")
        if not equals or not name.isidentifier():
            raise UserError(f"--axis {text!r} is not NAME=SIZE, such as past=0:16:256 or past=dynamic")
        if name in axes or name in ("batch", "seq"):
            raise UserError(f"--axis {name} is given twice; batch and seq have options of their own")
        axes[name] = sizes
    return axes
