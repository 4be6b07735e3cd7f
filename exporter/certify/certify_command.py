"""The command `temport certify`: options, table, files."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from temport.exporter.bundle.options import Digest, Strict
from temport.exporter.errors import UserError

_UNITS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}
MOST_FRAMES = 10**9


def certify(
    bundle: Annotated[Path, typer.Argument(help="Bundle with a native engine.")],
    rate: Annotated[float, typer.Option(help="Frames per second.")] = 1000.0,
    budget: Annotated[
        str | None, typer.Option(help="Time of one frame, such as 300us. Default: 1 / rate.")
    ] = None,
    frames: Annotated[int, typer.Option(help="Frames that are timed one after the other.")] = 1_000_000,
    core: Annotated[
        int | None, typer.Option(help="Run on this core. Default: where the system puts it.")
    ] = None,
    cc: Annotated[str | None, typer.Option(help="C++ compiler that builds the measurement.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for certificate.json and certificate.html. Default: none is written."),
    ] = None,
    digest: Digest = None,
    strict: Strict = False,
) -> None:
    """Whether a native engine is fit for real time: no allocation, no system call, NaN and silence, its time a frame.

    Exit status 1 where it is not certified. The times are this machine's at this moment; run it where the engine will
    run, with nothing else to do.
    """
    from temport.engine import native_entry
    from temport.exporter.bundle.directory import open_bundle
    from temport.exporter.certify.certificate import checks, verdict
    from temport.exporter.certify.measure import CONDITIONS, SHARES, measure
    from temport.exporter.certify.page import write_page
    from temport.exporter.machine import description
    from temport.exporter.native.engine import FOLDER
    from temport.exporter.terminal import Terminal

    seconds = 1 / _positive("--rate", rate) if budget is None else _duration(budget)
    if not 1 <= frames <= MOST_FRAMES:
        raise UserError(f"--frames {frames} is not from 1 to {MOST_FRAMES}")
    path = open_bundle(bundle, digest, strict=strict).path
    entry = native_entry(path)
    measured = measure(path / FOLDER, path / entry["file"], frames, rate, core, cc)
    found = checks(measured, rate, seconds)
    said = verdict(found, measured.times["steady"])
    console = Terminal()
    for check in found:
        console.print(f"{'✓' if check.holds else '✗'} {check.name}: {check.told}", soft_wrap=True)
    for name, told in CONDITIONS.items():
        row = measured.times[name]
        shown = (
            f"{label} {row.at(share) / 1e3:.3g}"
            for label, share in (("p50", 50.0), ("p99.9", 99.9), ("max", 100.0))
        )
        console.print(f"  {told}: {', '.join(shown)} us of {row.frames}", soft_wrap=True, highlight=False)
    console.print(f"  load {measured.load / 1e6:.3g} ms, stack {measured.stack} bytes", highlight=False)
    console.print(said, soft_wrap=True)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        content = {
            "verdict": said,
            "rate": rate,
            "budget": seconds,
            "machine": description(),
            "engine": entry["sha256"],
            "checks": [asdict(check) for check in found],
            "percentiles": SHARES,
            "measured": asdict(measured),
        }
        (out / "certificate.json").write_text(json.dumps(content, indent=1) + "\n")
        write_page(out / "certificate.html", bundle.name, content["machine"], found, measured, said, seconds)
        console.print(f"written: {out / 'certificate.json'}, {out / 'certificate.html'}", soft_wrap=True)
    if not all(check.holds for check in found):
        raise typer.Exit(1)


def _duration(text: str) -> float:
    """Seconds of `300us`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ns|us|ms|s)", text)
    if match is None:
        raise UserError(f"--budget {text!r} is not understood; give a time such as 300us or 1.5ms")
    return _positive("--budget", float(match[1]) * _UNITS[match[2]])


def _positive(option: str, value: float) -> float:
    if not 0 < value < float("inf"):
        raise UserError(f"{option} has to be more than 0")
    return value
