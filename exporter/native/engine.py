"""`--target native`: the directory `engine/` of a bundle, and its entry in `engine.json`."""

from __future__ import annotations

import re
import shutil
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import onnx_ir as ir

from temport.custom_ops.domain import DOMAIN
from temport.exporter.bundle.directory import sha256
from temport.exporter.bundle.identity import identity
from temport.exporter.declare.declaration import Declaration
from temport.exporter.errors import UserError
from temport.exporter.graph import body_domains
from temport.exporter.logs import LOG
from temport.exporter.native.amalgam import ROOT, amalgam
from temport.exporter.native.cmake_toolchain import cmake_toolchain
from temport.exporter.native.forms import FORMS
from temport.exporter.native.graph import prepared
from temport.exporter.native.isa import Isa, host_isa, isa_named, isa_of
from temport.exporter.native.plan import Plan
from temport.exporter.native.source import WORK_COMMENT, source
from temport.exporter.native.toolchain import FLAGS, Toolchain, deepest_stack
from temport.exporter.native.wasm import WasmToolchain
from temport.exporter.native.widen import widen
from temport.exporter.version import version

TARGET = "native"
FOLDER = "engine"
HEADER = "temport_engine.h"
OPTIONS = frozenset({"cc", "toolchain", "engine_isa", "engine_threads", "source_only"})
MOST_THREADS = 64
_INTEGERS = (ir.DataType.INT8, ir.DataType.INT4)
_BY_FOURS = "its layers read int8 or int4 weights, whose products it makes four at a time"
_KERNELS, _MODEL, _WEIGHTS, _BLOB = "kernels.h", "model.cc", "weights.S", "weights.bin"


@dataclass(frozen=True)
class NativeOptions:
    """cc          C++ compiler, such as aarch64-linux-gnu-g++; None: the one that there is
    toolchain    CMake toolchain file, in place of `cc`
    engine_isa   instruction set by its name; None: this machine's fastest for the model, another one's plainest
    engine_threads  into how many parts large layers are shared, for a caller who brings a parallel-for
    source_only  write the source and compile nothing
    """

    cc: str | None = None
    toolchain: Path | None = None
    engine_isa: str | None = None
    engine_threads: int = 1
    source_only: bool = False


@dataclass(frozen=True)
class NativeReport:
    """A native engine as `engine.json` holds it.

    file         the shared library, from the bundle's directory on; empty: source only
    name         of the C function that a static library has for its table, `<name>_engine`
    isa_reason   why it is that instruction set, where another one is usual; empty otherwise
    weights      bytes that layers read, by element type
    memory       bytes: weights, state and scratch of an instance, stack of a run (None: not known)
    undefined    symbols that the code needs from elsewhere
    code_bytes   instructions, without the weights
    machine      that the compiler makes code for, the first word of its target; empty: source only
    threads      into how many parts large layers are shared
    fuses        whether outputs are the same bits as those of every other engine of the model that fuses multiply-adds
    outputs_sha256  of the outputs for each recorded case (`replay`); empty where the engine was not run here
    """

    target: str
    file: str
    name: str
    sha256: str
    model_sha256: str
    isa: str
    machine: str
    compiler: str
    flags: tuple[str, ...]
    build_seconds: float
    memory: dict[str, int | None]
    weights: dict[str, int]
    undefined: tuple[str, ...]
    code_bytes: int
    nodes: int
    threads: int
    versions: dict[str, str]
    fuses: bool
    isa_reason: str = ""
    outputs_sha256: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def summary(self) -> str:
        """What became of the model, in one sentence."""
        weights, state, scratch = (self.memory[key] for key in ("weights", "state", "scratch"))
        built = (
            f"{self.code_bytes} bytes of code in {self.build_seconds:.1f} s" if self.file else "source only"
        )
        isa = f"{self.isa} ({self.isa_reason})" if self.isa_reason else self.isa
        return (
            f"{FOLDER}/ for {isa}: {built}, {self.nodes} nodes; bytes of weights {weights}, of an instance "
            f"{state} state and {'unknown' if scratch is None else scratch} scratch"
        )


def check_native(options: NativeOptions) -> None:
    """Refuse what cannot be built here before the model is traced."""
    if not 1 <= options.engine_threads <= MOST_THREADS:
        raise UserError(f"--engine-threads is {options.engine_threads}; give 1 to {MOST_THREADS}")
    isa, tools = _chosen(options)
    if isa.name == "wasm" and options.engine_threads > 1:
        raise UserError("--engine-isa wasm runs on one thread; leave --engine-threads out")
    own = options.cc is None and options.toolchain is None and isa.compiler is None
    if tools is not None and own and not isa.runs_here():
        raise UserError(
            f"--engine-isa {isa.name} is not of this machine; name its compiler with --cc or --toolchain, or give "
            "--source-only"
        )


def build_native(
    directory: Path, name: str, declaration: Declaration, options: NativeOptions
) -> NativeReport:
    """Write `directory/engine` from `directory/model.onnx`.

    name  of the bundle, after which the library and its function are called

    UserError for an operator without a native form, by its name, and with the compiler's last lines where it fails.
    """
    model_path, folder = directory / "model.onnx", directory / FOLDER
    name = re.sub(r"\W+", "_", name).strip("_").lower() or "model"
    name = f"m{name}" if name[0].isdigit() else name
    model = ir.from_proto(body_domains.read_model(model_path))
    model_sha256 = sha256(model_path)
    graph = prepared(model, declaration.axes)
    # rings of float16 beside a model in float32 are what they are: there rounding is what the file means
    warnings = [] if declaration.kv_dtype != "float32" else widen(graph)
    isa, tools = _chosen(options, _multiplies_integers(graph))
    isa_reason = _BY_FOURS if options.engine_isa is None and isa.fours else ""
    LOG.debug("native engine for %s%s", isa.name, f": {isa_reason}" if isa_reason else "")
    plan = Plan(graph, declaration, isa, FORMS, options.engine_threads)
    folder.mkdir()
    files = {path.name: {"sha256": sha256(path)} for path in directory.glob(f"{model_path.name}*")}
    (folder / _MODEL).write_text(source(plan, declaration, name, model_sha256, identity(files), version()))
    (folder / _KERNELS).write_text(amalgam("engine/run.h", frozenset({HEADER})))
    shutil.copy(ROOT / "engine" / HEADER, folder)
    (folder / _BLOB).write_bytes(plan.blob.content())
    linked = {"CMakeLists.txt.jinja": "CMakeLists.txt", "engine.pc.in.jinja": f"{name}.pc.in"}
    for template, to in ({"weights.S.jinja": _WEIGHTS} | ({} if isa.name == "wasm" else linked)).items():
        (folder / to).write_text(
            _template(template).render(
                name=name, isa=isa, flags=FLAGS, version=version(), bytes=plan.blob.bytes
            )
        )
    built = (
        _Built("", "", "", 0, (), None, None if plan.work else 0, 0.0)
        if tools is None
        else _compile(folder, name, isa, tools)
    )
    return NativeReport(
        target=TARGET,
        file=f"{FOLDER}/{built.library}" if built.library else "",
        name=name,
        sha256=sha256(folder / built.library) if built.library else "",
        model_sha256=model_sha256,
        isa=isa.name,
        machine=built.machine,
        compiler=built.compiler,
        flags=(*(tools.flags if tools is not None else ()), *FLAGS, *isa.flags),
        build_seconds=round(built.seconds, 3),
        memory={
            "weights": plan.blob.bytes,
            "state": plan.state_bytes,
            "scratch": None if built.work is None else plan.scratch.bytes + built.work,
            # what the caller's parallel-for takes is the caller's
            "stack": built.stack if plan.threads == 1 else None,
        },
        weights=dict(plan.weights.most_common()),
        undefined=built.undefined,
        code_bytes=built.code_bytes,
        nodes=len(graph),
        threads=plan.threads,
        versions={"temport": version()},
        fuses=isa.fuses,
        isa_reason=isa_reason,
        warnings=warnings,
    )


@dataclass(frozen=True)
class _Built:
    library: str
    compiler: str
    machine: str
    code_bytes: int
    undefined: tuple[str, ...]
    stack: int | None
    work: int | None
    seconds: float


def _compile(folder: Path, name: str, isa: Isa, tools: Toolchain) -> _Built:
    """Shared and static library of the source in `folder`."""
    start = time.perf_counter()
    compiler = tools.version()
    graph = [] if "clang" in compiler else ["-fcallgraph-info=su"]
    code = tools.compile(folder, _MODEL, [*FLAGS, *isa.flags, *graph])
    weights = tools.compile(folder, _WEIGHTS, [])
    library = tools.libraries(folder, [code, weights], name)
    undefined = tuple(s for s in tools.undefined(folder / code) if not s.endswith("_weights"))
    callgraph = next((path for path in folder.glob("*.ci")), None)
    stack = deepest_stack(callgraph.read_text(), "_GLOBAL__N_13runEPv") if callgraph else None
    built = _Built(
        library,
        compiler,
        tools.machine(),
        tools.code_bytes(folder / code),
        undefined,
        stack,
        _work_bytes((folder / code).read_bytes()),
        time.perf_counter() - start,
    )
    for path in (folder / code, folder / weights, *([callgraph] if callgraph else [])):
        path.unlink()
    return built


def _work_bytes(code: bytes) -> int | None:
    """Scratch memory whose size depends on vectors, which the compiler wrote among the comments of an object."""
    found = re.search(WORK_COMMENT.encode() + rb"(\d+)", code)
    return int(found[1]) if found else None


def _multiplies_integers(graph: ir.Graph) -> bool:
    """Whether layers read weights of int8 or int4; beside such alone, inputs that are rounded are multiplied so too."""
    given = (value for node in graph if node.domain == DOMAIN for value in node.inputs)
    constants = (value.const_value for value in given if value is not None)
    return any(held is not None and held.dtype in _INTEGERS for held in constants)


def _chosen(options: NativeOptions, integers: bool = False) -> tuple[Isa, Toolchain | None]:
    """The instruction set, and what compiles for it: None where only the source is asked for.

    integers  whether the model's layers multiply them
    """
    isa = None if options.engine_isa is None else isa_named(options.engine_isa)
    if options.cc is not None and options.toolchain is not None:
        raise UserError("--toolchain names a compiler, and so does --cc; leave one out")
    if options.source_only:
        return isa or host_isa(integers), None
    if isa is not None and isa.name == "wasm":
        if options.toolchain is not None:
            raise UserError("--engine-isa wasm is made by clang and wasm-ld alone; leave --toolchain out")
        return isa, WasmToolchain.found(options.cc or isa.compiler)
    tools = (
        cmake_toolchain(options.toolchain) if options.toolchain is not None else Toolchain.found(options.cc)
    )
    return isa or isa_of(tools.machine(), integers), tools


def _template(name: str) -> jinja2.Template:
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    return jinja2.Environment(
        loader=loader, keep_trailing_newline=True, trim_blocks=True, undefined=jinja2.StrictUndefined
    ).get_template(name)
