"""What `temport bench gpu` found, as Markdown and in sentences."""

from __future__ import annotations

from typing import Any

from temport.exporter.bench.gpu_cases import Target
from temport.exporter.bench.gpu_engines import Outcome


def table(report: dict[str, Any]) -> str:
    """Ours, the best peer, the engines, the claims, and every failure."""
    lines = [f"{report['device']['name']}, {report['device']['torch']}", ""]
    lines += ["| case | ours ms | TFLOP/s | best peer | ms | ratio |", "|---|---|---|---|---|---|"]
    for row in report["times"]:
        times = {name: entry["median"] for name, entry in row["contenders"].items()}
        ours = times.pop("ours", None)
        if ours is None or not times:
            continue
        best = min(times, key=lambda name: times[name])
        speed = row["contenders"]["ours"]["flops_per_second"] / 1e12
        figures = (
            f"{ours * 1e3:.3f} | {speed:.1f} | {best} | {times[best] * 1e3:.3f} | {times[best] / ours:.2f}"
        )
        lines.append(f"| {row['case']} | {figures} |")
    passed = sum(check["passed"] for check in report["checks"])
    lines += ["", f"- {passed} of {len(report['checks'])} comparisons with float64 pass"]
    if "in_engines" in report:
        lines.append(f"- kernels that travel in engines: {report['in_engines']}")
    if left_out := report.get("left_out"):
        lines.append(f"- not timed, for lack of time: {', '.join(left_out)}")
    lines += [f"- {target} engine: {Outcome(**outcome)}" for target, outcome in report["engines"].items()]
    for entry in report["targets"]:
        target = Target(entry["claim"], entry["figure"], entry["least"])
        verdict = {True: "met", False: "not met", None: "not measured"}[target.met]
        figure = "" if target.figure is None else f"{target.figure:.2f}, "
        lines.append(f"- {target.claim}: {figure}at least {target.least}: {verdict}")
    lines += [f"- FAILED: {failure}" for failure in report["failures"]]
    return "\n".join(lines)
