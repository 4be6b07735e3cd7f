"""Engines whose layers a caller's parallel-for shares: the same bits as on one thread, whoever computes the parts."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest

from temport.exporter.build import save
from temport.exporter.declare.declaration import Axis
from temport.exporter.errors import UserError
from temport.exporter.native import plan
from temport.exporter.native.engine import NativeOptions, build_native, check_native
from tests.native_engine.engine_of_graphs import QUICK, Small
from tests.small_models import OPEN, SMALL
from tests.traces import build

THREADS = 3
AXES = {name: Axis(name, *map(int, OPEN[name].split(":"))) for name in ("batch", "seq")}
SIZES = ({"batch": 1, "seq": 1}, {"batch": 2, "seq": 61})
MODELS = ("lightning-elu1", pytest.param("sliding_window", marks=pytest.mark.thorough))
Part = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint32)
Call = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_void_p, ctypes.c_void_p)


class ParallelFor(ctypes.Structure):
    """`temport_parallel_for` over `do(parts, part)`."""

    _fields_ = [("context", ctypes.c_void_p), ("call", Call)]

    def __init__(self, do: Callable[[int, Callable[[int], None]], None]) -> None:
        self.parts: list[int] = []

        def call(_: int, parts: int, part: int, argument: int) -> None:
            self.parts.append(parts)
            do(parts, lambda i: Part(part)(argument, i))

        super().__init__(None, Call(call))


def on_threads(parts: int, part: Callable[[int], None]) -> None:
    threads = [threading.Thread(target=part, args=(i,)) for i in range(parts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def backwards(parts: int, part: Callable[[int], None]) -> None:
    for i in reversed(range(parts)):
        part(i)


def without_the_last(parts: int, part: Callable[[int], None]) -> None:
    for i in range(parts - 1):
        part(i)


@pytest.fixture(scope="module", params=MODELS)
def engines(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Small, Small]:
    """A model's engine of one thread, and of several, where every layer is worth sharing."""
    folder = tmp_path_factory.mktemp(request.param)
    declaration, module = SMALL[request.param].declare(**OPEN)
    save(build(module, declaration), folder / "made.onnx", external_data=False)
    model = onnx.load(folder / "made.onnx")
    del model.functions[:]  # our ops have kernels
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "_WORTH_SHARING", 0)
        shared = Small(model, folder / "shared", AXES, QUICK, threads=THREADS)
    return Small(model, folder / "alone", AXES, QUICK), shared


def run(
    engine: Small, inputs: Mapping[str, np.ndarray], sizes: Mapping[str, int], caller: ParallelFor | None
) -> np.ndarray:
    instance = engine._instance
    instance._memory[:] = 255  # NaN in scratch memory
    ready = instance.prepared({"axes": np.zeros([sizes[name] for name in AXES], bool), **inputs})
    for output in ready.outputs.values():
        output[...] = np.nan
    given = None if caller is None else ctypes.addressof(caller)
    assert instance._engine._table.run_parallel(*ready.arguments, given) == 0
    return next(iter(ready.outputs.values())).copy()


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_the_bits_are_those_of_one_thread(engines: tuple[Small, Small], sizes: dict[str, int]) -> None:
    alone, shared = engines
    (name, (_, shape)) = next((n, s) for n, s in shared._instance._engine.inputs.items() if n != "axes")
    width = shape[-1]
    assert isinstance(width, int)
    x = np.random.default_rng(0).standard_normal((sizes["batch"], sizes["seq"], width), np.float32)
    right = run(alone, {name: x}, sizes, None)
    assert np.isfinite(right).all()
    for do in (on_threads, backwards):
        caller = ParallelFor(do)
        assert run(shared, {name: x}, sizes, caller).tobytes() == right.tobytes()
        assert caller.parts and set(caller.parts) == {THREADS}
    assert run(shared, {name: x}, sizes, None).tobytes() == right.tobytes()
    lost = ParallelFor(without_the_last)
    assert run(shared, {name: x}, sizes, lost).tobytes() != right.tobytes()


def test_how_many_parts_there_may_be() -> None:
    for wrong in (0, 65):
        with pytest.raises(UserError, match=rf"--engine-threads is {wrong}; give 1 to 64"):
            check_native(NativeOptions(engine_threads=wrong))
    with pytest.raises(UserError, match="wasm runs on one thread"):
        check_native(NativeOptions(engine_isa="wasm", engine_threads=2))


@pytest.mark.parametrize(("worth", "shared"), [(None, False), (0, True)])
def test_layers_that_are_not_worth_it_are_not_shared(
    worth: int | None, shared: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Waiting for other threads would take longer than computing them."""
    if worth is not None:
        monkeypatch.setattr(plan, "_WORTH_SHARING", worth)
    declaration, module = SMALL["sliding_window"].declare(batch="1", seq="9")
    save(build(module, declaration), tmp_path / "model.onnx", external_data=False)
    build_native(tmp_path, "small", declaration, NativeOptions(engine_threads=THREADS, source_only=True))
    assert (">(caller, " in (tmp_path / "engine" / "model.cc").read_text()) == shared
