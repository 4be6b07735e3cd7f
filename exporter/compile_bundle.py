"""`temport compile`: one more engine in a bundle that is there, from its own files alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rich.console import Console

from temport.exporter.add_target import add_target, check_target, of_module, replaces, row_of
from temport.exporter.bundle.directory import file_entries, open_bundle, seal
from temport.exporter.bundle.staging import staged
from temport.exporter.compilers.contract import CompileOptions
from temport.exporter.native.engine import TARGET as NATIVE
from temport.exporter.parity.gate import merge
from temport.exporter.parity.replay import record
from temport.exporter.parity.serial import read_json, to_json, write_json
from temport.exporter.parity.trial import Trial
from temport.exporter.parity.vectors import read_vectors
from temport.exporter.progress import Progress
from temport.exporter.recheck import rebuilt_module
from temport.exporter.report.html import write_html
from temport.exporter.report.table import print_table
from temport.exporter.terminal import Terminal


def run_compile(
    path: Path,
    target: str,
    options: CompileOptions,
    console: Console | None = None,
    *,
    source: str | None = None,
    digest: str | None = None,
    strict: bool = False,
) -> bool:
    """Compile the model of a bundle for `target` and put the engine beside it; whether the report still passes.

    source  `path.py:factory` of a bundle that was made of one; without it a form of a module is made of the file

    `digest` and `strict` are those of `open_bundle`.

    The recorded inputs are run in the engine, and its row joins the report, judged by the recorded bounds. An engine
    for the same target that was there is replaced. The bundle becomes the new one in one step, of another digest.
    """
    console = console or Terminal()
    check_target(target, options)
    bundle = open_bundle(path, digest, strict=strict)
    with Progress(console) as progress, staged(path) as work:
        for name in bundle.manifest["files"]:
            if not replaces(target, name):
                (work / name).parent.mkdir(parents=True, exist_ok=True)
                (work / name).write_bytes(bundle.read(name))
        module = rebuilt_module(bundle, source) if of_module(target) else None
        trial = Trial.of(bundle.declaration, work / "model.onnx", module)
        engine = add_target(target, options, trial.subject, path.absolute().name, progress)
        truths = read_vectors(work / "vectors.npz")
        cases = tuple(truth.case for truth in truths)
        found = trial.run(cases, [row_of(target)], truths, progress.parity)
        if target == NATIVE:
            record(work, found.runtimes)
        report = merge(read_json(work / "report.json"), to_json(found)["runtimes"])
        report = replace(report, warnings=tuple(dict.fromkeys((*report.warnings, *engine.warnings))))
        write_json(report, work / "report.json")
        write_html(report, work / "report.html")
        changed = {"files": file_entries(work), "verdict": report.verdict}
        sealed = seal(work, bundle.manifest | changed)
    print_table(report, console)
    console.print(engine.summary, soft_wrap=True)
    console.print(f"wrote {path}", soft_wrap=True)
    console.print(f"digest {sealed}", soft_wrap=True)
    return report.passed
