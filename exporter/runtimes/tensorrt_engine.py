"""Run the engine that a compiler put into the bundle; shared by both TensorRT flavours.

The engine is native code for the GPU that TensorRT trusts: its sha256 is compared with `engine.json` before it is
read, which shows that nothing was damaged; one from a stranger is a stranger's program. Lean runtimes inside an engine
("host code") stay forbidden.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

from temport.exporter.compilers.targets import REPORT_FILE, backend, entry_of
from temport.exporter.compilers.tensorrt import cuda_device_count
from temport.exporter.errors import NotForThisMachine, UserError
from temport.exporter.runtimes.contract import EVERY_ROUNDING, Arrays, Capabilities, Closing
from temport.exporter.runtimes.cuda_memory import Driver
from temport.exporter.runtimes.subject import Subject

CAPABILITIES = Capabilities(
    custom_domain=False,
    functions=False,
    opsets=backend("tensorrt-rtx").opsets,
    dtypes=frozenset({"bool", "float16", "bfloat16", "float32", "int8", "uint8", "int32", "int64"}),
    dynamic_axes=True,
    intermediates=False,
    fp8=True,
    rounds=EVERY_ROUNDING,
)


class NotForThisGpu(NotForThisMachine):
    """The engine has no code for this machine's GPU."""


class EngineRuntime:
    """`name` for reports; `target` and `module` say which engine and which bindings."""

    def __init__(self, name: str, target: str, module: str) -> None:
        self.name, self.target, self.module = name, target, module
        self.capabilities = CAPABILITIES

    def unavailable(self) -> str | None:
        if importlib.util.find_spec(self.module) is None:
            return f"the package {self.module} is not installed"
        if not cuda_device_count():
            return "no GPU; engines are compiled here and run elsewhere"
        return None

    def open(self, subject: Subject, threads: int = 1) -> EngineSession:
        """Load the verified engine; `threads` is of the host and means nothing here."""
        trt: Any = importlib.import_module(self.module)
        directory = subject.model_path.parent
        entry = engine_entry(directory, self.target)
        path, plan = verified_engine(directory, entry, subject.model_path)
        built = entry["versions"].get(self.module)
        if built != trt.__version__:
            raise NotForThisMachine(
                f"the engine was built with {self.module} {built} and {trt.__version__} is installed; "
                f"build it again with temport export --target {self.target}"
            )
        return EngineSession(trt, path.name, plan, entry, Driver())


def engine_entry(directory: Path, target: str) -> dict[str, Any]:
    """This target's entry of `engine.json`."""
    entry = entry_of(directory, target)
    if entry is None:
        raise UserError(f"{directory} has no {target} engine; export with --target {target}")
    return entry


def verified_engine(directory: Path, entry: dict[str, Any], model: Path) -> tuple[Path, bytes]:
    """The engine's path and bytes, after they and the model it was built from were compared with `engine.json`."""
    name = entry["file"]
    if Path(name).name != name:
        raise UserError(f"{REPORT_FILE} names {name!r}, which is not a plain file name")
    path = directory / name
    plan = path.read_bytes() if path.is_file() else None
    if plan is None or hashlib.sha256(plan).hexdigest() != entry["sha256"]:
        raise UserError(f"{path} is missing or differs from {REPORT_FILE}; build it again")
    if _sha256(model) != entry["model_sha256"]:
        raise UserError(f"{path} was built from another model than {model.name}; build it again")
    return path, plan


class EngineSession(Closing):
    """One engine with one execution context."""

    def __init__(self, trt: Any, name: str, plan: bytes, entry: dict[str, Any], driver: Driver) -> None:
        self._trt, self._driver = trt, driver
        self._logger = trt.Logger(trt.Logger.ERROR)
        self._runtime = trt.Runtime(self._logger)
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise _not_loaded(name, entry["compute_capabilities"], driver)
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise RuntimeError(f"{name} gets no execution context; TensorRT's message stands above")
        attention = [node["outcome"] for node in entry["attention"]]
        counts = ", ".join(f"{attention.count(kind)} {kind}" for kind in sorted(set(attention)))
        self.path = f"engine on {driver.device}" + (f", attention: {counts}" if counts else "")
        self.version = f"{trt.__name__} {trt.__version__}"

    def run(self, inputs: Arrays) -> Arrays:
        trt, context = self._trt, self._context
        with contextlib.ExitStack() as buffers:
            for name, array in inputs.items():
                wanted = np.dtype(trt.nptype(self._engine.get_tensor_dtype(name)))
                if array.dtype != wanted:
                    raise UserError(f"input {name} is {array.dtype} and the engine takes {wanted}")
                if not context.set_input_shape(name, array.shape):
                    raise UserError(f"input {name} of shape {array.shape} is outside the engine's profile")
                buffer = buffers.enter_context(self._driver.upload(array))
                context.set_tensor_address(name, buffer.address.value)
            outputs = {}
            for index in range(self._engine.num_io_tensors):
                name = self._engine.get_tensor_name(index)
                if self._engine.get_tensor_mode(name) == trt.TensorIOMode.OUTPUT:
                    shape = tuple(context.get_tensor_shape(name))
                    dtype = np.dtype(trt.nptype(self._engine.get_tensor_dtype(name)))
                    size = int(np.prod(shape)) * dtype.itemsize
                    buffer = buffers.enter_context(self._driver.empty(size))
                    context.set_tensor_address(name, buffer.address.value)
                    outputs[name] = (buffer, shape, dtype)
            if not context.execute_async_v3(0):
                raise UserError("the engine did not run; TensorRT's message stands above")
            return {name: self._driver.download(*parts) for name, parts in outputs.items()}

    def close(self) -> None:
        del self._context, self._engine, self._runtime
        self._driver.close()


def _not_loaded(name: str, targets: list[str], driver: Driver) -> Exception:
    """An engine without code for this GPU is not run; one with such code has failed."""
    own = driver.compute_capability
    if targets and own not in targets:
        return NotForThisGpu(
            f"{name} is for compute capability {', '.join(targets)} and {driver.device} has {own}; "
            "build it on or for this GPU"
        )
    return RuntimeError(
        f"{name} has code for {driver.device} and cannot be loaded; TensorRT's message stands above"
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
