"""An engine that hangs, crashes or refuses where it is told to. It is imported by the process that runs it."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from temport.exporter.declare.declaration import Declaration, TensorSpec
from temport.exporter.runtimes.apart import Talk
from temport.exporter.runtimes.contract import Arrays, Closing
from temport.exporter.runtimes.subject import Subject
from temport.exporter.runtimes.tensorrt_engine import CAPABILITIES, NotForThisGpu

SPEC = (TensorSpec("x", "float32", (2,)),)
SUBJECT = Subject(Declaration("module", {}, SPEC, (TensorSpec("y", "float32", (2,)),)), Path("model.onnx"))
INPUTS = {"x": np.array([1.0, 2.0], np.float32)}


class Unportable(Exception):
    """Bindings raise objects that no other process can read."""

    def __init__(self, handle: object) -> None:
        super().__init__("lost device")
        self.handle = handle


def misbehave(how: str) -> None:
    if how == "hang":
        time.sleep(600)
    if how == "abort":
        os.abort()
    if how == "exit":
        os._exit(7)
    if how == "refuse":
        raise NotForThisGpu("is for compute capability 80")
    if how == "unportable":
        raise Unportable(lambda: None)


def answering() -> Talk:
    """What `apart.OtherProcess` runs: the same answer to every message."""
    while True:
        yield 1


@dataclass(frozen=True)
class StandIn:
    """An engine that doubles `x`, or goes wrong at `load` or in its second run."""

    load: str = ""
    second_run: str = ""
    name: str = "tensorrt"
    capabilities = CAPABILITIES

    def unavailable(self) -> str | None:
        return None

    def open(self, subject: Subject, threads: int = 1) -> StandInSession:
        misbehave(self.load)
        return StandInSession(self.second_run)


class StandInSession(Closing):
    path, version = "stand-in", "1"

    def __init__(self, second_run: str) -> None:
        self.second_run, self.runs = second_run, 0

    def run(self, inputs: Arrays) -> Arrays:
        self.runs += 1
        if self.runs == 2:
            misbehave(self.second_run)
        return {"y": inputs["x"] + inputs["x"], "process": np.array(os.getpid())}
