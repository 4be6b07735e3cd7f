"""Peak memory growth of one contender: what preparing and running it at a length adds to a process that has already
run it at a short one."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

from temport.exporter.bench.op_cases import OpCase
from temport.exporter.bench.resident import status_kib

SHORT = 128


def growth(name: str, case: OpCase) -> float | None:
    """MiB of peak resident memory, the output included and the inputs not; None where the process did not survive.

    Linux only: the peak is reset through /proc/self/clear_refs.
    """
    context = multiprocessing.get_context("spawn")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(name, case, send))
    process.start()
    send.close()
    try:
        grown: float = receive.recv()
        return grown
    except EOFError:
        return None
    finally:
        process.join()


def _measure(name: str, case: OpCase, send: multiprocessing.connection.Connection) -> None:
    from dataclasses import replace

    from temport.exporter.bench.op_contenders import CONTENDERS

    prepare = CONTENDERS[name].prepare
    prepare(replace(case, length=SHORT), 1)()
    case.qkv.sum()  # the inputs are there before the count begins
    Path("/proc/self/clear_refs").write_text("5")
    before = status_kib("VmRSS")
    call = prepare(case, 1)
    call()
    call()
    send.send((status_kib("VmHWM") - before) / 1024)
