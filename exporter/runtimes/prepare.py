"""What stays and what is inlined: the model file as a runtime's capability table wants it."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx.inliner

from temport.exporter.runtimes.contract import Capabilities


def prepare(model_path: Path, capabilities: Capabilities) -> onnx.ModelProto:
    """Load the model and inline its functions where the runtime does not run them itself."""
    model = onnx.load(model_path)
    return model if capabilities.custom_domain or capabilities.functions else inline(model)


def inline(model: onnx.ModelProto) -> onnx.ModelProto:
    """Every model-local function expanded into its body."""
    return onnx.inliner.inline_local_functions(model) if model.functions else model


def custom_path(model: onnx.ModelProto, with_functions: str) -> str:
    """`with_functions` where the model carries bodies of custom ops, else that it has none to speak of."""
    return with_functions if model.functions else "standard operators"
