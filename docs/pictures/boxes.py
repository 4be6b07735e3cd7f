"""Pictures of boxes and arrows as SVG: places on a grid, words in lines, nothing that needs a program to be read."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

STYLE = """
.box { fill: #fff; stroke: #9aa4b5; stroke-width: 1.2 }
.ask { fill: #eef3fc; stroke: #3b6fc9 }
.end { fill: #e6f4ec; stroke: #1f8a5b }
.bad { fill: #fdf1e3; stroke: #b4690e }
text { font: 13px "DejaVu Sans", Verdana, sans-serif; fill: #1b2333; text-anchor: middle }
.head { font-weight: bold } .small { font-size: 11px; fill: #525d70 }
.room { font: 11px "DejaVu Sans Mono", monospace; fill: #3b6fc9 }
.line { fill: none; stroke: #525d70; stroke-width: 1.4 }
"""
LINE, ARROW = 16, 7


@dataclass(frozen=True)
class Box:
    """A box around its middle (x, y): a first line in bold, then small lines; a line in backticks names a room.

    kind  `box`, `ask` (a question), `end` (what to do), `bad` (where the fault is)
    """

    x: float
    y: float
    width: float
    lines: tuple[str, ...]
    kind: str = "box"

    @property
    def height(self) -> float:
        return LINE * len(self.lines) + 16

    def svg(self) -> str:
        top = self.y - self.height / 2
        parts = [
            f'<rect class="box {self.kind}" x="{self.x - self.width / 2:g}" y="{top:g}" width="{self.width:g}" '
            f'height="{self.height:g}" rx="7"/>'
        ]
        for number, line in enumerate(self.lines):
            style = "room" if line.startswith("`") else "small" if number else "head"
            y = top + 8 + LINE * (number + 0.75)
            parts.append(f'<text class="{style}" x="{self.x:g}" y="{y:g}">{escape(line.strip("`"))}</text>')
        return "".join(parts)


def arrow(*points: tuple[float, float], word: str = "") -> str:
    """A line through the points with a head at the last one; `word` stands beside the first."""
    (x, y), *_, (x_before, y_before), (x_end, y_end) = (points[0], *points)
    length = ((x_end - x_before) ** 2 + (y_end - y_before) ** 2) ** 0.5
    dx, dy = (x_end - x_before) / length, (y_end - y_before) / length
    left, right = (
        (x_end - ARROW * dx + side * ARROW / 2 * dy, y_end - ARROW * dy - side * ARROW / 2 * dx)
        for side in (1, -1)
    )
    line = " ".join(f"{px:g},{py:g}" for px, py in points)
    head = " ".join(f"{px:.1f},{py:.1f}" for px, py in (left, (x_end, y_end), right))
    (x_next, _) = points[1]
    place = (x + 16, y + 15) if x_next == x else (x + (18 if x_next > x else -18), y - 5)
    told = f'<text class="small" x="{place[0]:g}" y="{place[1]:g}">{escape(word)}</text>' if word else ""
    return f'<polyline class="line" points="{line}"/><polygon fill="#525d70" points="{head}"/>{told}'


def picture(width: int, height: int, title: str, *parts: str) -> str:
    """The whole file, on a white ground so that it is readable on a dark page too."""
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}">\n<title>{escape(title)}</title>\n<style>{STYLE}</style>\n'
        f'<rect width="{width}" height="{height}" rx="8" fill="#f7f8fa"/>\n{body}\n</svg>\n'
    )
