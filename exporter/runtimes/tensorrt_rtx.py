"""TensorRT for RTX on the machine's GPU: the engine that `--target tensorrt-rtx` compiled, TF32 off."""

from temport.exporter.runtimes.apart import Apart
from temport.exporter.runtimes.tensorrt_engine import EngineRuntime

RUNTIME = Apart(EngineRuntime("tensorrt_rtx", "tensorrt-rtx", "tensorrt_rtx"))
