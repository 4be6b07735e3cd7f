"""Runs models one after the other in this process, which one of them may end: see `test_hostile_models.py`.

`hostile_worker.py LIBRARY JOBS RESULTS START` reads a pickled list of (model, feeds) and appends to RESULTS, for each
from START on, what came of it: a refusal's text, or the outputs and the shapes that were declared for them.
"""

from __future__ import annotations

import pickle
import resource
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

SECONDS = 10
"""More is an endless loop: the process is then killed by SIGALRM."""


def outcome(library: str, model: bytes, feeds: dict[str, np.ndarray]) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.register_custom_ops_library(library)
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        wanted = {i.name for i in session.get_inputs()}
        outputs = session.run(None, {name: x for name, x in feeds.items() if name in wanted})
    except Exception as error:  # whatever a binding raises; only its text is judged
        return f"{type(error).__name__}: {error}"
    return {o.name: (y, o.shape) for o, y in zip(session.get_outputs(), outputs, strict=True)}


def main(library: str, jobs: str, results: str, start: str) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    todo = pickle.loads(Path(jobs).read_bytes())
    with Path(results).open("ab") as out:
        for model, feeds in todo[int(start) :]:
            signal.alarm(SECONDS)
            pickle.dump(outcome(library, model, feeds), out)
            out.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
