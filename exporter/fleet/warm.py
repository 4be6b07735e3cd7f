"""Imported by the server that jobs are forked from: what the first export of a process loads and finds out, all have.

On one thread and without a runtime, so that nothing runs in the server that a fork would lose.
"""

from __future__ import annotations

import contextlib

import torch

from temport.exporter import export, recheck
from temport.exporter.build import build
from temport.exporter.declare.architectures import declare

SMALL = ("embed_dim=4", "hidden_size=4", "num_layers=1")
PRELOADED = (export, recheck)

torch.set_num_threads(1)
with contextlib.suppress(Exception):  # what is wrong with an export, a job says
    _declaration, _module, _ = declare("mega", SMALL, seq="4")
    build(_module, _declaration)
