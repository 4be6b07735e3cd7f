"""What a scorecard is written into: its page, its JSON, markdown, and a line of a trend."""

from __future__ import annotations

import json
from pathlib import Path

from temport.exporter.bench.files import write_whole
from temport.exporter.errors import UserError
from temport.exporter.scorecard.card import Scorecard, to_json
from temport.exporter.scorecard.markdown import markdown
from temport.exporter.scorecard.page import page

JSON, HTML, MARKDOWN = "scorecard.json", "scorecard.html", "scorecard.md"


def check_folder(folder: Path | None) -> None:
    """Makes it, before anything that takes long; UserError where that is not possible."""
    if folder is None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}; choose another one") from error


def write(card: Scorecard, folder: Path) -> None:
    """Each file is whole at any moment."""
    write_whole(folder / JSON, json.dumps(to_json(card), indent=1) + "\n")
    write_whole(folder / MARKDOWN, markdown(card))
    write_whole(folder / HTML, page(card))


def add_to_trend(card: Scorecard, path: Path) -> None:
    """One line of JSON more: what ran, where, with which versions, and what each runtime came to."""
    line = {
        "time": card.time,
        "bundle": card.bundle,
        "digest": card.digest,
        "of": card.of,
        "batch": card.batch,
        "machine": card.machine,
        "versions": dict(card.versions),
        "verdict": card.verdict,
        "rows": [
            {
                "name": row.name,
                "version": row.version,
                "verdict": row.verdict,
                "share": row.share,
                "p50": row.speed and row.speed.p50,
                "p99.9": row.speed and row.speed.p99_9,
            }
            for row in card.rows
        ],
    }
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
    except OSError as error:
        raise UserError(f"cannot write to {path}: {error.strerror}; choose another --trend") from error
