"""`temport diff` of two scorecards: what is worse is told, and fails whoever asks for it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from temport.exporter.difference import run_diff
from temport.exporter.errors import UserError
from temport.exporter.parity.result import FAIL
from temport.exporter.scorecard.card import Row, Scorecard, Speed, to_json

QUIET = Console(quiet=True)


def written(folder: Path, card: Scorecard, name: str) -> Path:
    path = folder / f"{name}.json"
    path.write_text(json.dumps(to_json(card)))
    return path


def changed(card: Scorecard, name: str, **fields: object) -> Scorecard:
    rows = tuple(replace(row, **fields) if row.name == name else row for row in card.rows)  # type: ignore[arg-type]
    return replace(card, rows=rows)


def told(folder: Path, before: Scorecard, after: Scorecard, *aspects: str) -> tuple[bool, str]:
    paths = [written(folder, card, name) for name, card in (("before", before), ("after", after))]
    out = folder / "diff.json"
    passed = run_diff(*paths, aspects or None, 0.1, None, out, QUIET)
    return passed, "\n".join(f"{one['aspect']}: {one['told']}" for one in json.loads(out.read_text()))


def test_the_same_card_has_no_difference(card: Scorecard, tmp_path: Path) -> None:
    assert told(tmp_path, card, card, "speed", "size", "verdicts") == (True, "")


@pytest.mark.parametrize(
    ("fields", "aspect", "sentence"),
    [
        ({"speed": Speed.of([1.2e-3] * 2000)}, "speed", "speed: fast, p50: 1.00 ms before, 1.20 ms now"),
        ({"speed": None, "untimed": "it died"}, "speed", "speed: fast has no time any more: it died"),
        ({"libraries": 1 << 21}, "size", "size: fast, libraries: 1.0 MiB before, 2.0 MiB now"),
        ({"verdict": FAIL, "reason": "wrong"}, "verdicts", "verdicts: fast: pass before, fail now (wrong)"),
        ({"share": 0.5}, "verdicts", "verdicts: fast, worst share of a bound: 20% before, 50% now"),
    ],
)
def test_what_is_worse_fails_who_asks_for_it(
    card: Scorecard, fields: dict[str, object], aspect: str, sentence: str, tmp_path: Path
) -> None:
    worse = changed(card, "fast", **fields)
    assert told(tmp_path, card, worse, aspect) == (False, sentence)
    assert told(tmp_path, worse, card, aspect)[0], "and the way back is none"
    other = next(name for name in ("speed", "size", "verdicts") if name != aspect)
    assert told(tmp_path, card, worse, other) == (True, sentence)


def test_rows_that_come_and_go_are_told(card: Scorecard, tmp_path: Path) -> None:
    more = replace(card, rows=(*card.rows, Row("new", FAIL, "wrong")))
    assert told(tmp_path, card, more) == (False, "verdicts: new is new: fail")
    assert told(tmp_path, more, card) == (False, "verdicts: new has no row any more")
    fewer = replace(card, rows=card.rows[1:])
    gone = "verdicts: fast has no row any more\nspeed: fast has no time any more: its row is gone"
    assert told(tmp_path, card, fewer, "speed") == (False, gone)


def test_a_row_of_another_machine_is_not_compared(card: Scorecard, tmp_path: Path) -> None:
    """And who goes by the times fails, since nothing else would."""
    moved = changed(card, "fast", machine="a board", speed=Speed.of([9.0]))
    sentence = "speed: fast: not compared, on this machine before, a board now"
    assert told(tmp_path, card, moved) == (True, sentence)
    assert told(tmp_path, card, moved, "speed") == (False, sentence)
    assert told(tmp_path, moved, moved, "speed") == (True, "")


def test_what_a_scorecard_does_not_hold_is_not_gone_by(card: Scorecard, tmp_path: Path) -> None:
    for aspect in ("graph", "passes", "weights"):
        with pytest.raises(UserError, match=f"--fail-on {aspect} has nothing to go by; a scorecard"):
            told(tmp_path, card, card, aspect)


def test_times_of_two_machines_are_not_compared(card: Scorecard, tmp_path: Path) -> None:
    other = replace(changed(card, "fast", speed=Speed.of([9.0])), machine="another one")
    passed, sentence = told(tmp_path, card, other)
    assert passed and sentence.startswith(
        "speed: not compared: one frame of frame float32 [1, 6] on a machine before"
    )
    with pytest.raises(UserError, match=r"say nothing of each other .*make both on one machine and"):
        told(tmp_path, card, other, "speed")


def test_times_of_other_inputs_are_not_compared(card: Scorecard, tmp_path: Path) -> None:
    other = replace(changed(card, "fast", speed=Speed.of([9.0])), inputs={"frame": "float32 [2, 6]"})
    passed, sentence = told(tmp_path, card, other)
    assert not passed, "it has another signature"
    assert sentence.startswith(
        "signature: run: one frame of frame float32 [1, 6] before, one frame of frame float32 [2, 6] now\n"
        "speed: not compared: "
    )


def test_a_scorecard_and_a_bundle_are_not_compared(card: Scorecard, window: Path, tmp_path: Path) -> None:
    path = written(tmp_path, card, "card")
    for pair in ((path, window), (window, path), (path, window / "report.json")):
        with pytest.raises(UserError, match="is compared with another one"):
            run_diff(*pair, console=QUIET)
    with pytest.raises(UserError, match="scorecards have their speeds"):
        run_diff(path, path, times=lambda *_: (1.0, 1.0), console=QUIET)
    path.write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        run_diff(path, path, console=QUIET)
