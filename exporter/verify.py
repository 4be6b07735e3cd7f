"""`temport verify`: whether a bundle's model is what this version makes of its source.

Hashes show that a file is whole. They do not show that it computes what its declaration says: a function body replaced
under the same name runs wherever our kernels are absent, and with them nobody sees it.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import onnx
import onnx_ir as ir
from rich.console import Console

from temport.engine import NoEngineHere
from temport.exporter.build import build, save
from temport.exporter.bundle.directory import Bundle, open_bundle
from temport.exporter.bundle.external_data import MODEL, is_weights
from temport.exporter.compilers.targets import REPORT_FILE
from temport.exporter.declare.declaration import Declaration
from temport.exporter.errors import UserError
from temport.exporter.graph.body_domains import gather, spread
from temport.exporter.native.engine import TARGET as NATIVE
from temport.exporter.parity.replay import differing as differing_outputs
from temport.exporter.passes.attach_bodies import attach_bodies
from temport.exporter.recheck import rebuilt_module
from temport.exporter.runtimes.subject import Subject
from temport.exporter.terminal import Terminal
from temport.exporter.trace.clean import clean
from temport.exporter.version import version
from temport.plugins import first_line

WEIGHTS = "weights.safetensors"


def run_verify(
    path: Path,
    source: str | None = None,
    console: Console | None = None,
    *,
    digest: str | None = None,
    strict: bool = False,
) -> bool:
    """Compare the model of a bundle with what this version makes, and say how that was done and what differs.

    source  `path.py:factory` of a bundle that was made of one

    Where the source is at hand (ours always is) the model is made anew of it and the bundle's weights, and compared
    byte for byte. The function bodies are always compared, with those of this version for the very nodes of the file.
    """
    console = console or Terminal()
    bundle = open_bundle(path, digest, strict=strict)
    module = rebuilt_module(bundle, source) if bundle.file(WEIGHTS) is not None else None
    if module is not None:
        done = f"{MODEL} made anew of {source or bundle.declaration.arch} and {WEIGHTS}, byte for byte"
        with tempfile.TemporaryDirectory(prefix="temport-verify-") as scratch:
            save(
                build(module, bundle.declaration),
                Path(scratch) / MODEL,
                any(map(is_weights, bundle.manifest["files"])),
            )
            differing = tuple(_differing_files(bundle, Path(scratch)))
    else:
        done = (
            "only the function bodies, with this version's own; the graph and its weights were not compared"
        )
        differing = ()
    differing = (*differing, *_differing_bodies(bundle))
    engine, outputs = _engine(bundle)
    differing = (*differing, *outputs)
    open_bundle(path, bundle.digest)  # what was compared is still what was hashed
    console.print(f"compared: {done}", soft_wrap=True)
    if engine:
        console.print(f"compared: {engine}", soft_wrap=True)
    for what in differing:
        console.print(f"differs: {what}", soft_wrap=True)
    made_by = bundle.manifest["temport"]
    if differing and made_by != version():
        console.print(f"the bundle was made by temport {made_by}, this is {version()}", soft_wrap=True)
    console.print(f"{'differs' if differing else 'the same'}, digest {bundle.digest}", soft_wrap=True)
    return not differing


def _engine(bundle: Bundle) -> tuple[str, tuple[str, ...]]:
    """How the outputs of a native engine were compared, and those that differ; nothing where there is no engine."""
    if bundle.file(REPORT_FILE) is None or NATIVE not in {
        engine["target"] for engine in json.loads(bundle.read(REPORT_FILE))["engines"]
    }:
        return "", ()
    try:
        count, cases = differing_outputs(Subject(bundle.declaration, bundle.model_path, None))
    except NoEngineHere as error:
        return f"not the outputs of the native engine: {error}", ()
    if not count:
        return "not the outputs of the native engine: where it was made, it did not run", ()
    said = f"what the native engine computes in {count} recorded cases, byte for byte"
    return said, tuple(f"the output of the native engine in case {name}" for name in cases)


def _differing_files(bundle: Bundle, made: Path) -> Iterator[str]:
    names = {name for name in bundle.manifest["files"] if name == MODEL or is_weights(name)}
    for name in sorted(names | {file.name for file in made.iterdir()}):
        ours = made / name
        if bundle.file(name) is None or not ours.exists() or bundle.read(name) != ours.read_bytes():
            yield name


def _differing_bodies(bundle: Bundle) -> Iterator[str]:
    """Functions of the file that are not this version's own for its nodes, and those that it lacks."""
    model = onnx.ModelProto.FromString(bundle.read(MODEL))
    theirs = _functions(model)
    try:
        ours = _functions(_with_own_bodies(model, bundle.declaration))
    except Exception as error:  # whatever nodes that are none of ours may have passes do
        raise UserError(
            f"{bundle.model_path} holds ops that have no body here ({first_line(error)})"
        ) from error
    for domain, name in sorted(theirs.keys() | ours.keys()):
        if theirs.get((domain, name)) != ours.get((domain, name)):
            yield f"the body of {domain}::{name}"


def _functions(model: onnx.ModelProto) -> dict[tuple[str, str], tuple[bytes, ...]]:
    """What each name of a function stands for; more than one thing where a file defines it twice."""
    found: dict[tuple[str, str], tuple[bytes, ...]] = {}
    for function in model.functions:
        key = function.domain, ".".join(filter(None, (function.name, function.overload)))
        found[key] = (*found.get(key, ()), function.SerializeToString(deterministic=True))
    return found


def _with_own_bodies(model: onnx.ModelProto, declaration: Declaration) -> onnx.ModelProto:
    """The model, its functions replaced by those that this version gives its nodes."""
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    gather(bare)
    del bare.functions[:]
    own = ir.from_proto(bare)
    for node in own.graph.all_nodes():
        node.overload = ""
    if declaration.ops == "custom":
        attach_bodies(own, declaration)
    clean(own)
    proto = ir.to_proto(own)
    spread(proto)
    return proto
