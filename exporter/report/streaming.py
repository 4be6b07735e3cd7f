"""What a stream is, in words: how it begins, what it takes, and what it saves."""

from __future__ import annotations

from collections.abc import Mapping

from temport.exporter.parity.result import StreamRow


def told(row: StreamRow, flops: Mapping[str, Mapping[str, float] | None]) -> list[str]:
    """Phrases, as the manifest's key `stream` has them, and the FLOPs of a frame beside those of the window."""
    phrases = [] if row.rate is None else [f"{row.rate:g} frames per second"]
    phrases.append("starts anew where every state is zeros")
    if row.frames:
        phrases.append(f"ends after {_frames(row.frames)}, as the table of its positions does")
    if row.delay:
        phrases.append(f"outputs come {_frames(row.delay)} late")
    if row.static:
        phrases.append(f"static: {', '.join(row.static)}")
    if row.forgets is not None:
        phrases.append(
            f"warm-up {_frames(row.forgets)}: from then on a frame depends on the last {_frames(row.forgets + 1)} alone"
        )
    elif row.length:
        phrases.append("warm-up never ends: a frame depends on all frames since the start")
    return [*phrases, *_work(row, flops.get("exported"))]


def _work(row: StreamRow, frame: Mapping[str, float] | None) -> list[str]:
    if frame is None or row.window is None:
        return []
    one, whole = sum(frame.values()), row.window
    of_all = f" of {row.streams} streams" if row.streams > 1 else ""
    less = f", {whole / one:.3g} times as much" if one and whole else ""
    return [
        f"{one / 1e6:.4g} MFLOP a frame{of_all}, {whole / 1e6:.4g} MFLOP the window of {_frames(row.length)}{less}"
    ]


def _frames(count: int) -> str:
    return f"{count} frame{'s' * (count != 1)}"
