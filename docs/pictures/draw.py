"""Draws way.svg, the way of a model through the rooms, and parity-fails.svg, where a failed row leads.

.venv/bin/python docs/pictures/draw.py
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from boxes import Box, arrow, picture

HERE = Path(__file__).parent


def way() -> str:
    """The rooms in the order in which a model passes them; a snake of two rows."""
    top, bottom, step = 62, 190, 170
    rows = [
        [
            ("declaration", "what was asked", "`exporter/declare`"),
            ("torch module", "layers, a registry", "`graphs`"),
            ("trace", "torch -> ONNX", "`exporter/trace`"),
            ("passes", "rewrites of the graph", "`exporter/passes`"),
        ],
        [
            ("bundle", "model, manifest, vectors", "`exporter/bundle`"),
            ("report", "HTML, JSON, terminal", "`exporter/report`"),
            ("parity", "float64 truth, bounds", "`exporter/parity`"),
            ("runtimes", "one file each", "`exporter/runtimes`"),
        ],
    ]
    first = [Box(90 + step * i, top, 146, lines) for i, lines in enumerate(rows[0])]
    second = [Box(90 + step * (i + 1), bottom, 146, lines) for i, lines in enumerate(rows[1])]
    streams = Box(first[3].x, 125, 146, ("step models", "`exporter/streaming`"))
    tensorrt = Box(90 + step * 4, 37, 146, ("TensorRT", "`exporter/compilers`"))
    native = Box(tensorrt.x, 89, 146, ("native engine", "`exporter/native`"))
    device = Box(90, bottom, 146, ("device", "C++, web, Triton", "`deploy`"), "end")
    ops = Box(345, 300, 316, ("custom ops", "schema, reference, body, kernels", "`custom_ops`"), "ask")
    known = Box(
        685, 300, 316, ("what is known of a graph", "operators, rows, masks, work", "`exporter/graph`"), "ask"
    )
    file = Box(90, 300, 146, ("or an ONNX file", "in place of a module", "`exporter/onnx_source`"), "ask")
    parts = [box.svg() for box in (*first, streams, tensorrt, native, *second, device, file, ops, known)]
    parts += [arrow((a.x + 73, top), (b.x - 73, top)) for a, b in pairwise(first)]
    parts.append(arrow((first[3].x + 73, top), (tensorrt.x - 73, top)))
    parts.append(arrow((native.x, 112), (second[3].x, bottom - 32)))
    parts += [arrow((b.x - 73, bottom), (a.x + 73, bottom)) for a, b in pairwise(second)]
    parts.append(arrow((second[0].x - 73, bottom), (device.x + 73, bottom)))
    return picture(860, 350, "The way of a model through the rooms of the repository", *parts)


def parity_fails() -> str:
    """One question below the other; the numbers are those of the sections of parity-fails.md."""
    asked = [
        (("Does the row say “not run”?", "cells “·”"), ("1  not run", "a reason, no failure"), "end"),
        (
            ("Is the model or the run refused?", "“does not load”, “the run fails”"),
            ("2  refused", "the runtime's own message"),
            "bad",
        ),
        (
            ("Are values NaN or infinite?", "the reason counts them"),
            ("3  NaN, overflow", "half precision: read the warnings"),
            "bad",
        ),
        (
            ("Could nothing be judged?", "cells “~”"),
            ("4  ill-conditioned", "the source itself is too far off"),
            "bad",
        ),
        (
            ("Do only your own inputs fail?", "cases real-..."),
            ("5  your input", "the model at that input"),
            "bad",
        ),
        (
            ("“... diverges in ...”: is the file wrong?", "report.json: where = file"),
            ("6  the file", "a pass or a function body: name it"),
            "bad",
        ),
        (
            ("Is one node of the runtime wrong?", "where = runtime"),
            ("7  the runtime", "a kernel: report it"),
            "bad",
        ),
    ]
    x, out, y, step = 190, 560, 48, 74
    parts = []
    for number, (question, answer, kind) in enumerate(asked):
        at = y + step * number
        box, end = Box(x, at, 316, question, "ask"), Box(out, at, 260, answer, kind)
        parts += [
            box.svg(),
            end.svg(),
            arrow((x + 158, at), (out - 130, at), word="yes"),
            arrow((x, at + box.height / 2), (x, at + step - box.height / 2), word="no"),
        ]
    last = Box(
        x, y + step * len(asked), 316, ("8  not located", "rounding, a fusion, a stream's frame"), "bad"
    )
    return picture(
        710, round(last.y + 44), "Where a failed row of the parity report leads", *parts, last.svg()
    )


def main() -> None:
    for name, draw in (("way", way), ("parity-fails", parity_fails)):
        (HERE / f"{name}.svg").write_text(draw(), encoding="utf-8")


if __name__ == "__main__":
    main()
