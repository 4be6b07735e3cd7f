"""The engine runtimes without a GPU: what they refuse, and the buffer traffic against host memory."""

from __future__ import annotations

import ctypes
import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx
import pytest

from temport.exporter.bundle.directory import sha256
from temport.exporter.compilers.compile import compile_model
from temport.exporter.compilers.tensorrt import cuda_device_count
from temport.exporter.declare.declaration import PRECISIONS
from temport.exporter.errors import UserError
from temport.exporter.parity.run import run_runtime
from temport.exporter.runtimes import tensorrt, tensorrt_rtx
from temport.exporter.runtimes.cuda_memory import Driver
from temport.exporter.runtimes.subject import Subject
from temport.exporter.runtimes.tensorrt_engine import (
    EngineRuntime,
    EngineSession,
    NotForThisGpu,
    engine_entry,
    verified_engine,
)
from tests.tensorrt.models import AttentionCase, attention_model, declaration


@pytest.mark.skipif(cuda_device_count() > 0, reason="a GPU is here")
@pytest.mark.parametrize("runtime", [tensorrt.RUNTIME, tensorrt_rtx.RUNTIME], ids=lambda r: r.name)
def test_without_gpu_it_says_why(runtime: Any) -> None:
    assert any(word in runtime.unavailable() for word in ("no GPU", "is not installed"))


@pytest.mark.parametrize("precision", PRECISIONS.values())
def test_every_precision_that_engines_are_built_in_is_run(precision: str) -> None:
    asked = replace(declaration(AttentionCase()), precision=precision)
    assert tensorrt.RUNTIME.capabilities.refusal(asked) is None


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("bundle")
    onnx.save(attention_model(AttentionCase()), directory / "model.onnx")
    compile_model("tensorrt-rtx", directory / "model.onnx", declaration(AttentionCase()), directory)
    return directory


def test_engine_is_verified(bundle: Path) -> None:
    entry = engine_entry(bundle, "tensorrt-rtx")
    path, plan = verified_engine(bundle, entry, bundle / "model.onnx")
    assert path.name == "engine.tensorrt-rtx.plan" and plan == path.read_bytes()
    with pytest.raises(UserError, match="has no tensorrt engine; export with --target tensorrt"):
        engine_entry(bundle, "tensorrt")
    with pytest.raises(UserError, match=r"differs from engine\.json"):
        verified_engine(bundle, {**entry, "sha256": "0" * 64}, bundle / "model.onnx")
    with pytest.raises(UserError, match="built from another model"):
        verified_engine(bundle, {**entry, "model_sha256": "0" * 64}, bundle / "model.onnx")
    with pytest.raises(UserError, match="not a plain file name"):
        verified_engine(bundle, {**entry, "file": "../engine"}, bundle / "model.onnx")


def test_an_engine_of_another_version_is_not_judged_and_one_that_was_changed_fails(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing else is missing."""
    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    monkeypatch.setattr(EngineRuntime, "unavailable", lambda self: None)
    subject = Subject(declaration(AttentionCase()), copy / "model.onnx", None)
    (copy / "engine.tensorrt-rtx.plan").write_bytes(b"another")
    row = run_runtime(subject, tensorrt_rtx.RUNTIME, [])
    assert row.verdict == "fail" and "tensorrt-rtx is for this machine and was not run: " in row.reason
    held = json.loads((copy / "engine.json").read_text())
    held["engines"][0] |= {"sha256": sha256(copy / "engine.tensorrt-rtx.plan")}
    held["engines"][0]["versions"]["tensorrt_rtx"] = "0.1"
    (copy / "engine.json").write_text(json.dumps(held))
    row = run_runtime(subject, tensorrt_rtx.RUNTIME, [])
    assert row.unjudged.startswith("engine tensorrt-rtx was not judged here: the engine was built with")
    assert run_runtime(subject, tensorrt.RUNTIME, []).unjudged == ""  # of which the bundle has none


def test_changed_engine_is_refused(bundle: Path, tmp_path: Path) -> None:
    entry = json.loads((bundle / "engine.json").read_text())["engines"][0]
    content = bytearray((bundle / entry["file"]).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / entry["file"]).write_bytes(content)
    with pytest.raises(UserError, match=r"differs from engine\.json"):
        verified_engine(tmp_path, entry, bundle / "model.onnx")


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Driver:
    library = tmp_path_factory.mktemp("cuda") / "libcuda.so"
    source = Path(__file__).with_name("fake_cuda.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source], check=True)
    return Driver(str(library))


def test_buffers_round_trip(driver: Driver) -> None:
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)[:, ::2]
    with driver.upload(array) as buffer:
        assert np.array_equal(driver.download(buffer, array.shape, array.dtype), array)
        with pytest.raises(ValueError, match="asked of a buffer"):
            driver.download(buffer, (1000,), np.float32)
    with driver.empty(0) as buffer:
        assert driver.download(buffer, (0, 3), np.float32).shape == (0, 3)
    with pytest.raises(UserError, match="CUDA refused cuMemAlloc_v2 with error 2"):
        driver.empty(1 << 29)


def test_missing_driver_is_one_sentence() -> None:
    with pytest.raises(UserError, match="no CUDA driver"):
        Driver("libabsent.so.1")


class HostTensorRT:
    """Bindings whose one engine doubles `x` into `y`, on host addresses; the file's content names its type."""

    __name__, __version__ = "host", "1"

    class TensorIOMode:
        INPUT, OUTPUT = 0, 1

    class Logger:
        ERROR: ClassVar[int] = 0

        def __init__(self, severity: int) -> None: ...

    class Runtime:
        def __init__(self, logger: object) -> None: ...

        def deserialize_cuda_engine(self, content: bytes) -> HostEngine | LargeEngine | None:
            if content == b"damaged":
                return None
            return LargeEngine() if content == b"large" else HostEngine(np.dtype(content.decode()))

    @staticmethod
    def nptype(kind: type) -> type:
        return kind


class HostEngine:
    num_io_tensors = 2

    def __init__(self, kind: np.dtype[Any]) -> None:
        self.kind = kind

    def create_execution_context(self) -> HostEngine:
        self.addresses: dict[str, int] = {}
        return self

    def get_tensor_name(self, index: int) -> str:
        return "xy"[index]

    def get_tensor_mode(self, name: str) -> int:
        return int(name == "y")

    def get_tensor_dtype(self, name: str) -> np.dtype[Any]:
        return self.kind

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shape = shape
        return shape[0] <= 4

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.shape

    def set_tensor_address(self, name: str, address: int) -> None:
        self.addresses[name] = address

    def execute_async_v3(self, stream: int) -> bool:
        count = int(np.prod(self.shape))
        raw = (
            (ctypes.c_char * (count * self.kind.itemsize)).from_address(self.addresses[name]) for name in "xy"
        )
        x, y = (np.frombuffer(buffer, self.kind) for buffer in raw)
        y[:] = x + x
        return True


class LargeEngine:
    """One whose activations do not fit into the device's memory."""

    def create_execution_context(self) -> None:
        return None


@pytest.mark.parametrize("kind", ["float32", "float16", "int64", "bool"])
def test_every_element_type_of_a_step_model(kind: str, driver: Driver) -> None:
    """A position in a stream is an int64 beyond what 32 bits hold, a mask of frames seen is boolean."""
    plan = kind.encode()
    x = np.array([[1, 2**40 if kind == "int64" else 0, 1]], kind)
    with EngineSession(HostTensorRT(), "e.plan", plan, {"attention": []}, driver) as session:
        y = session.run({"x": x})["y"]
    assert y.dtype == x.dtype and np.array_equal(y, x + x)


def test_session_moves_tensors_in_and_out(driver: Driver) -> None:
    plan = b"float32"
    entry = {"attention": [{"outcome": "fused"}, {"outcome": "fused"}]}
    with EngineSession(HostTensorRT(), "e.plan", plan, entry, driver) as session:
        assert session.path == "engine on host memory, attention: 2 fused"
        x = np.arange(6, dtype=np.float32).reshape(2, 3)
        assert np.array_equal(session.run({"x": x})["y"], 2 * x)
        with pytest.raises(UserError, match="input x is float64 and the engine takes float32"):
            session.run({"x": x.astype(np.float64)})
        with pytest.raises(UserError, match="outside the engine's profile"):
            session.run({"x": np.zeros((5, 1), np.float32)})


def test_an_engine_without_memory_to_run_in(driver: Driver) -> None:
    plan = b"large"
    with pytest.raises(RuntimeError, match=r"e\.plan gets no execution context"):
        EngineSession(HostTensorRT(), "e.plan", plan, {"attention": []}, driver)


@pytest.mark.parametrize(
    ("targets", "kind", "sentence"),
    [
        (["80", "86"], NotForThisGpu, "is for compute capability 80, 86 and host memory has 90; build it on"),
        (["80", "90"], RuntimeError, "has code for host memory and cannot be loaded"),
        ([], RuntimeError, "has code for host memory and cannot be loaded"),
    ],
)
def test_an_engine_that_does_not_load(
    targets: list[str], kind: type[Exception], sentence: str, driver: Driver
) -> None:
    """Only one without code for this GPU is "not run"."""
    plan = b"damaged"
    with pytest.raises(kind, match=sentence):
        EngineSession(
            HostTensorRT(), "e.plan", plan, {"attention": [], "compute_capabilities": targets}, driver
        )
