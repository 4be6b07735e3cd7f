"""TensorRT on the machine's GPU: the engine that `--target tensorrt` compiled, TF32 off."""

from temport.exporter.runtimes.apart import Apart
from temport.exporter.runtimes.tensorrt_engine import EngineRuntime

RUNTIME = Apart(EngineRuntime("tensorrt", "tensorrt", "tensorrt"))
