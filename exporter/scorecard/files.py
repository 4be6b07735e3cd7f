"""What a scorecard is written into: its page, its JSON, markdown, and a line of a trend."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import BinaryIO

from temport.exporter.errors import UserError
from temport.exporter.files import write_whole
from temport.exporter.scorecard.card import Scorecard, to_json
from temport.exporter.scorecard.markdown import markdown
from temport.exporter.scorecard.page import page

JSON, HTML, MARKDOWN = "scorecard.json", "scorecard.html", "scorecard.md"


def write(card: Scorecard, folder: Path) -> None:
    """Each file is whole at any moment."""
    write_whole(folder / JSON, json.dumps(to_json(card), indent=1) + "\n")
    write_whole(folder / MARKDOWN, markdown(card))
    write_whole(folder / HTML, page(card))


def _last_byte(file: BinaryIO) -> bytes:
    file.seek(-1, os.SEEK_END)
    return file.read(1)


def add_to_trend(card: Scorecard, path: Path) -> None:
    """One line of JSON more: what ran, where, with which versions, and what each runtime came to.

    It is written at once, so that the lines of two runs do not mix, and behind a line that was cut short, not into it.
    """
    line = {
        "time": card.time,
        "bundle": card.bundle,
        "digest": card.digest,
        "of": card.of,
        "inputs": dict(card.inputs),
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
        text = f"{json.dumps(line)}\n".encode()
        with path.open("ab+", buffering=len(text) + 2) as file:
            if file.tell() and _last_byte(file) != b"\n":
                text = b"\n" + text
            file.write(text)
    except OSError as error:
        raise UserError(f"cannot write to {path}: {error.strerror}; choose another --trend") from error
