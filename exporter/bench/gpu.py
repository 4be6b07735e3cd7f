"""`temport bench gpu`: build the CUDA kernels, prove them, time them against torch, try the engines.

Runs from a plain checkout beside nvcc and torch: `PYTHONPATH=deploy/python python -m
temport.exporter.bench.gpu`. Under ten minutes.
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

from temport.exporter.bench import gpu_aot
from temport.exporter.bench.gpu_cases import GpuCase, plan, targets
from temport.exporter.bench.gpu_checks import checks
from temport.exporter.bench.gpu_contenders import contenders
from temport.exporter.bench.gpu_engines import outcomes
from temport.exporter.bench.gpu_kernels import TorchKernels, build, has_compiler
from temport.exporter.bench.gpu_table import table
from temport.exporter.bench.watchdog import ends_within
from temport.exporter.errors import UserError
from temport.exporter.files import write_whole
from temport.exporter.parity.result import FAIL

ROUNDS = 15
"""Interleaved rounds per case; the median is reported with its quartiles."""
SLOWEST_TOTAL = 400.0
"""Seconds after which no further case begins; the last case and the engines then still end within `LONGEST`."""
LONGEST = 600
"""Seconds after which something hangs."""
QUEUED_CYCLES = 2_000_000
"""The device idles this long (about a millisecond) before a timed call, so that the host is ahead of it and the time
between the events is the device's alone."""
Say = Callable[[str], None]


def run(
    out: Path, device: str = "cuda", cases: list[GpuCase] | None = None, say: Say = print
) -> dict[str, Any]:
    """Everything, written to `out` (JSON, after every case) as well as returned. `device="cpu"` uses the emulated
    kernels.

    `failures` has one sentence for each thing that was tried and went wrong: a kernel that is not built, not right,
    not ended, or an engine that is not. Times of wrong kernels mean nothing and are not taken. A process that hangs
    ends with exit status 1 after `LONGEST` seconds. Raises `UserError`, with nothing written, without a GPU or nvcc.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("bench gpu: no CUDA device here; run it on a machine with a GPU, nvcc and torch")
    if device == "cuda" and not has_compiler():
        raise UserError("bench gpu: no nvcc here; install the CUDA toolkit or set NVCC to its compiler")
    started = time.monotonic()
    torch.backends.cuda.matmul.allow_tf32 = False  # float32 here means float32
    report: dict[str, Any] = {
        "device": _device(device),
        "checks": [],
        "times": [],
        "targets": [],
        "engines": {},
        "failures": [],
    }
    doing = "starting"

    def step(what: str) -> None:
        nonlocal doing
        doing = what
        say(what)

    def hung() -> None:
        report["failures"].append(f"not finished after {LONGEST} seconds, while {doing}")
        say(table(report))
        save()

    save = partial(_save, report, out, started)
    save()
    try:
        with ends_within(LONGEST, hung):
            _measure_all(report, device, cases or plan(), started + SLOWEST_TOTAL, step, save)
    except (RuntimeError, ValueError) as error:
        report["failures"].append(str(error))
    except Exception as error:
        report["failures"].append(f"{type(error).__name__}: {error}")
        raise
    finally:
        save()
    return report


def _measure_all(
    report: dict[str, Any],
    device: str,
    cases: list[GpuCase],
    deadline: float,
    say: Say,
    save: Callable[[], None],
) -> None:
    with tempfile.TemporaryDirectory(prefix="temport-bench-") as work:
        capability = torch.cuda.get_device_capability() if device == "cuda" else None
        say("building the kernels")
        kernels = TorchKernels(build(Path(work) / "libtemport_cuda.so", capability))
        _prove(report, kernels, device, say)
        _time(report, kernels, device, cases, deadline, say, save)
    say("trying TensorRT")
    engines = outcomes()
    report["engines"] = {target: asdict(outcome) for target, outcome in engines.items()}
    report["failures"] += [f"{t} engine: {o.reason}" for t, o in engines.items() if o.verdict == FAIL]


def _save(report: dict[str, Any], out: Path, started: float) -> None:
    report["seconds"] = round(time.monotonic() - started, 1)
    write_whole(out, json.dumps(report, indent=1, allow_nan=False) + "\n")


def _prove(report: dict[str, Any], kernels: TorchKernels, device: str, say: Say) -> None:
    say("comparing with float64")
    proofs = report["checks"]
    for check in checks(kernels, device):
        proofs.append(check.to_json())
    say("comparing the kernels that travel in engines")
    if device == "cuda":
        proofs += gpu_aot.proofs()
    else:
        report["in_engines"] = "not run: no GPU"
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
    """Run from a plain checkout: `PYTHONPATH=deploy/python python -m temport.exporter.bench.gpu`."""
    parser = argparse.ArgumentParser(description=run.__doc__)
    parser.add_argument("--out", type=Path, default=Path("bench-gpu.json"))
    try:
        report = run(parser.parse_args().out)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(table(report))
    return 1 if report["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
