"""The native kernels of a forced instruction set: a process for each, since a process chooses once in its life.

As a program, it says which instruction set its op library runs, then answers pickled models and inputs with outputs.
It imports no torch: what is right, the test says that asks.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy.typing as npt
import onnxruntime

from temport.custom_ops.library import get_library_path, library_description
from tests.first_domain import first_domain

Array = npt.NDArray[Any]
LEVELS = {"sse42": "sse4_2", "avx2": "avx2", "avx512": "avx512f", "neon": "asimd"}
"""An instruction set by its name in TEMPORT_ISA, and what /proc/cpuinfo calls it."""


def cpu_flags() -> set[str]:
    text = Path("/proc/cpuinfo").read_text()
    line = next(line for line in text.splitlines() if line.startswith(("flags", "Features")))
    return set(line.split(":")[1].split())


HERE = tuple(isa for isa, flag in LEVELS.items() if flag in cpu_flags())
"""Those that this processor has."""


class Forced:
    """The op library in a process of its own, with that instruction set; `with` ends the process."""

    def __init__(self, isa: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            env=os.environ | {"TEMPORT_ISA": isa, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.description: str = self._answer()

    def __enter__(self) -> Forced:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def run(self, model: bytes, feeds: Mapping[str, Array], threads: int = 1) -> dict[str, Array]:
        """The outputs of a model by name; of the inputs those that it has are taken."""
        assert self._process.stdin is not None
        pickle.dump((model, dict(feeds), threads), self._process.stdin)
        self._process.stdin.flush()
        return dict(self._answer())

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        return pickle.load(self._process.stdout)


@lru_cache(maxsize=8)
def _session(model: bytes, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    options.register_custom_ops_library(first_domain())
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _answer_questions() -> None:
    answers, questions = sys.stdout.buffer, sys.stdin.buffer
    pickle.dump(library_description(Path(get_library_path())), answers)
    answers.flush()
    while questions.peek(1):
        model, feeds, threads = pickle.load(questions)
        session = _session(model, threads)
        given = {i.name: feeds[i.name] for i in session.get_inputs()}
        names = [o.name for o in session.get_outputs()]
        pickle.dump(dict(zip(names, session.run(None, given), strict=True)), answers)
        answers.flush()


if __name__ == "__main__":
    _answer_questions()
