"""What `temport show --out` writes: a page, JSON, and the model with the numbers on its nodes."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from temport.exporter.bundle.directory import Bundle
from temport.exporter.files import check_folder, write_whole
from temport.exporter.report.pages import pages
from temport.exporter.scorecard.figures import amount
from temport.exporter.show.overlay import check_outside, write_overlay
from temport.exporter.show.text import COLUMNS, Shown, groups, mega, memory, micro, notes, signature

HTML, JSON, MODEL = "show.html", "show.json", "show.onnx"
TEMPLATE = "show.html.jinja"


def check(bundle: Bundle, folder: Path) -> None:
    """Makes the folder, before anything that takes long. UserError where that cannot be, or would be in the bundle."""
    check_outside(bundle, folder)
    check_folder(folder)


def write(bundle: Bundle, shown: Shown, folder: Path) -> None:
    write_whole(folder / HTML, page(shown))
    content = {
        "bundle": shown.name,
        "digest": shown.digest,
        "memory": asdict(shown.memory),
        "others_microseconds": shown.others,
        "errors_in": shown.runtime,
        "nodes": [asdict(node) for node in shown.nodes],
    }
    write_whole(folder / JSON, json.dumps(content, indent=1) + "\n")
    write_overlay(bundle, shown.nodes, folder / MODEL)


def page(shown: Shown) -> str:
    """One file that opens offline; every string in it is escaped."""
    environment = pages(Path(__file__).parent)
    environment.filters |= {"amount": amount, "mega": mega, "micro": micro, "signature": signature}
    return environment.get_template(TEMPLATE).render(
        shown=shown,
        groups=groups(shown.nodes),
        columns=COLUMNS,
        memory=memory(shown.memory),
        notes=notes(shown),
        most=max((node.flops or 0 for node in shown.nodes), default=0),
        longest=max((node.microseconds or 0 for node in shown.nodes), default=0),
    )
