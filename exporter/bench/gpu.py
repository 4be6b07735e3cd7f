"""`temport bench gpu`: build the CUDA kernels, prove them, time them against torch, try the engines; JSON
and a table.

Runs from a plain checkout beside nvcc and torch: `python -m exporter.bench.gpu`. Under ten minutes.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from exporter.bench import gpu_aot
from exporter.bench.files import write_whole
from exporter.bench.gpu_cases import GpuCase, Target, plan, targets
from exporter.bench.gpu_checks import checks
from exporter.bench.gpu_contenders import contenders
from exporter.bench.gpu_engines import outcomes
from exporter.bench.gpu_kernels import TorchKernels, build
from exporter.errors import UserError

ROUNDS = 15
"""Interleaved rounds per case; the median is reported with its quartiles."""
SLOWEST_TOTAL = 400.0
"""Seconds after which no further case begins; the last case and the engines then still end within ten minutes."""
QUEUED_CYCLES = 2_000_000
"""The device idles this long (about a millisecond) before a timed call, so that the host is ahead of it and the time
between the events is the device's alone."""
Say = Callable[[str], None]


def run(
    out: Path, device: str = "cuda", cases: list[GpuCase] | None = None, say: Say = print
) -> dict[str, Any]:
    """Everything, written to `out` (JSON, after every case) as well as returned. `device="cpu"` uses the emulated
    kernels.

    Raises `UserError` without a GPU or nvcc, when a kernel is wrong (times of wrong kernels mean nothing), and when
    one of ours fails; `out` then says how far it came.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("bench gpu: no CUDA device here; run it on a machine with a GPU, nvcc and torch")
    started = time.monotonic()
    torch.backends.cuda.matmul.allow_tf32 = False  # float32 here means float32
    report: dict[str, Any] = {
        "device": _device(device),
        "checks": [],
        "times": [],
        "targets": [],
        "engines": {},
    }
    save = partial(_save, report, out, started)
    try:
        save()
    except OSError as error:
        raise UserError(f"bench gpu: cannot write {out}: {error.strerror}; choose another --out") from error
    try:
        with tempfile.TemporaryDirectory(prefix="temport-bench-") as work:
            capability = torch.cuda.get_device_capability() if device == "cuda" else None
            say("building the kernels")
            kernels = TorchKernels(build(Path(work) / "libtemport_cuda.so", capability))
            _prove(report, kernels, device, say)
            _time(report, kernels, device, cases or plan(), started + SLOWEST_TOTAL, say, save)
        say("trying TensorRT")
        report["engines"] = outcomes()
    except Exception as error:
        report["failure"] = f"{type(error).__name__}: {error}"
        if isinstance(error, (RuntimeError, ValueError)):
            raise UserError(f"bench gpu: {error}") from error
        raise
    finally:
        save()
    return report


def _save(report: dict[str, Any], out: Path, started: float) -> None:
    report["seconds"] = round(time.monotonic() - started, 1)
    write_whole(out, json.dumps(report, indent=1, allow_nan=False) + "\n")


def _prove(report: dict[str, Any], kernels: TorchKernels, device: str, say: Say) -> None:
    say("comparing with float64")
    proofs = [check.to_json() for check in checks(kernels, device)]
    say("comparing the kernels that travel in engines")
    carried = gpu_aot.proofs() if device == "cuda" else "not tried: no GPU"
    if isinstance(carried, str):
        report["in_engines"] = carried
    else:
        proofs += carried
    report["checks"] = proofs
    if wrong := [proof["name"] for proof in proofs if not proof["passed"]]:
        raise ValueError(
            f"{len(wrong)} of {len(proofs)} comparisons fail, first {wrong[0]}; nothing was timed"
        )


def _time(
    report: dict[str, Any],
    kernels: TorchKernels,
    device: str,
    cases: list[GpuCase],
    deadline: float,
    say: Say,
    save: Callable[[], None],
) -> None:
    peak, bandwidth = roofs(device)
    report |= {"peak_flops": peak, "copy_bytes_per_second": bandwidth}
    medians: dict[GpuCase, dict[str, float]] = {}
    for case in cases:
        if time.monotonic() > deadline:
            report.setdefault("left_out", []).append(str(case))
            continue
        say(f"timing {case}")
        row = measure(case, kernels, device)
        medians[case] = {name: entry["median"] for name, entry in row["contenders"].items()}
        report["times"].append(row)
        save()
    report["targets"] = [asdict(t) | {"met": t.met} for t in targets(medians, peak, bandwidth)]


def measure(case: GpuCase, kernels: TorchKernels, device: str) -> dict[str, Any]:
    """Median and quartiles of every contender that runs, interleaved; reasons for the others."""
    calls, refused = {}, {}
    for name, call in contenders(case, kernels, device):
        try:
            call()
            _finish(device)
            calls[name] = call
        except Exception as error:  # a peer's compiler may raise anything; the others are still timed
            if name == "ours":
                raise
            lines = str(error).strip().splitlines() or [type(error).__name__]
            refused[name] = lines[0][:200]
    samples: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(ROUNDS):
        order = list(calls)
        for name in (*order[turn % len(order) :], *order[: turn % len(order)]):
            samples[name].append(_seconds(calls[name], device))
    entries = {}
    for name, seconds in samples.items():
        lower, median, upper = statistics.quantiles(seconds, n=4)
        entries[name] = {
            "median": median,
            "quartiles": [lower, upper],
            "flops_per_second": case.flops / median,
            "bytes_per_second": case.bytes / median,
        }
    return {"case": str(case), **asdict(case), "contenders": entries, "not_run": refused}


def roofs(device: str) -> tuple[float, float]:
    """Measured peaks: FLOP/s of a large bfloat16 product, bytes per second (read + written) of a large
    copy."""
    side, size = (8192, 2**30) if device == "cuda" else (256, 2**20)
    a = torch.randn(side, side, device=device, dtype=torch.bfloat16)
    block = torch.empty(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(block)
    product = min(_seconds(lambda: a @ a, device) for _ in range(10))
    copy = min(_seconds(lambda: target.copy_(block), device) for _ in range(10))
    return 2 * side**3 / product, 2 * size / copy


def table(report: dict[str, Any]) -> str:
    """A short Markdown table: ours, the best peer, and the claims."""
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
    lines += [f"- {target} engine: {outcome}" for target, outcome in report["engines"].items()]
    for entry in report["targets"]:
        target = Target(entry["claim"], entry["figure"], entry["least"])
        verdict = {True: "met", False: "not met", None: "not measured"}[target.met]
        figure = "" if target.figure is None else f"{target.figure:.2f}, "
        lines.append(f"- {target.claim}: {figure}at least {target.least}: {verdict}")
    return "\n".join(lines)


def _device(device: str) -> dict[str, str]:
    name = torch.cuda.get_device_name() if device == "cuda" else f"emulated on {platform.machine()}"
    return {"name": name, "torch": f"torch {torch.__version__}", "cuda": str(torch.version.cuda)}


def _finish(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _seconds(call: Callable[[], object], device: str) -> float:
    if device != "cuda":
        started = time.perf_counter()
        call()
        return time.perf_counter() - started
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    torch.cuda._sleep(QUEUED_CYCLES)
    first.record()
    call()
    last.record()
    torch.cuda.synchronize()
    return float(first.elapsed_time(last)) / 1e3


def main() -> int:
    """Run from a plain checkout: `python -m exporter.bench.gpu --out bench-gpu.json`."""
    parser = argparse.ArgumentParser(description=run.__doc__)
    parser.add_argument("--out", type=Path, default=Path("bench-gpu.json"))
    try:
        report = run(parser.parse_args().out)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(table(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
