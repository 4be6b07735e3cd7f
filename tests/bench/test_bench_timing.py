"""Interleaved timing in a simulated process, where a thread pool goes on spinning after its work."""

import time

import pytest

from temport.exporter.bench import timing
from temport.exporter.bench.timing import Clock, interleaved


class Machine(Clock):
    """Time stands still but for pauses and work; a spinning thread uses one core and halves other work's speed."""

    def __init__(self) -> None:
        self.now = self.spent = self.spinning_until = 0.0

    def wall(self) -> float:
        return self.now

    def processor(self) -> float:
        return self.spent

    def sleep(self, seconds: float) -> None:
        self.spent += max(0.0, min(self.now + seconds, self.spinning_until) - self.now)
        self.now += seconds

    def work(self, seconds: float) -> None:
        taken = seconds * (2 if self.now < self.spinning_until else 1)
        self.spent += taken
        self.now += taken

    def work_and_spin(self, seconds: float, spin: float) -> None:
        self.spent += seconds
        self.now += seconds
        self.spinning_until = self.now + spin


def measure(spin: float) -> dict[str, timing.Timing]:
    machine = Machine()
    calls = {"pool": lambda: machine.work_and_spin(2e-3, spin), "next": lambda: machine.work(5e-3)}
    return interleaved(calls, seconds=1.0, clock=machine)


def test_a_pool_that_still_spins_does_not_slow_the_next_sample() -> None:
    timings = measure(spin=40e-3)
    assert timings["next"].upper == pytest.approx(5e-3)
    assert timings["pool"].median == pytest.approx(2e-3)


def test_a_pause_of_fixed_length_would_show_the_spinning(monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulation can fail: with processor time ignored the next contender pays."""
    monkeypatch.setattr(timing, "IDLE_SHARE", 2)
    assert measure(spin=40e-3)["next"].median > 7e-3


def test_what_never_stops_spinning_does_not_stop_the_measurement() -> None:
    machine = Machine()
    calls = {"endless": lambda: machine.work_and_spin(1e-3, 1e9)}
    taken = interleaved(calls, seconds=0.1, clock=machine)["endless"]
    assert taken.samples == 5 and taken.median == pytest.approx(1e-3)


def test_a_slow_contender_does_not_use_the_time_of_the_others() -> None:
    machine = Machine()
    calls = {"slow": lambda: machine.work(3.0), "fast": lambda: machine.work(1e-3)}
    timings = interleaved(calls, seconds=0.5, clock=machine)
    assert timings["slow"].samples == 5 and timings["fast"].samples > 20
    assert timings["fast"].median == pytest.approx(1e-3)


def test_an_interrupted_call_does_not_make_the_samples_short() -> None:
    """The second call of all is a hundred times as long; samples still hold many of the others."""
    machine, made = Machine(), []

    def call() -> None:
        made.append(machine.now)
        machine.work(1e-2 if len(made) == 2 else 1e-4)

    interleaved({"interrupted": call}, seconds=0.02, clock=machine)
    assert len(made) > 5 * timing.SAMPLE_SECONDS / 1e-4


def test_the_real_clock_tells_slow_from_fast() -> None:
    calls = {"slow": lambda: time.sleep(4e-3), "fast": lambda: time.sleep(1e-3)}
    timings = interleaved(calls, seconds=0.1)
    assert timings["fast"].median < timings["slow"].median
    assert all(t.minimum <= t.lower <= t.median <= t.upper for t in timings.values())
