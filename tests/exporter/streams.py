"""Small step models for the streaming tests: declared, built and saved."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from torch import nn

from temport.exporter.build import save
from temport.exporter.declare.declaration import Declaration
from temport.exporter.declare.weights import fingerprint
from temport.exporter.parity.oracle import Truth
from temport.exporter.parity.result import ParityReport
from temport.exporter.parity.stream import initial_state
from temport.exporter.parity.trial import Trial, cases_for
from temport.exporter.runtimes import runtime_named
from temport.exporter.runtimes.contract import Arrays
from tests.small_models import SMALL
from tests.traces import build, declare_stream

SEQ = "9"
FAST = ("onnxruntime_cpu",)
RUNTIMES = (*FAST, "onnxruntime_native", "openvino")
EVALUATORS = ("onnx_reference", "op_reference")
"""Those of this process."""

_truths: dict[str, tuple[Truth, ...]] = {}


@dataclass(frozen=True)
class Exported:
    """A step model on disk with what it is compared with."""

    declaration: Declaration
    module: nn.Module
    path: Path

    def trial(self) -> Trial:
        return Trial.of(self.declaration, self.path, self.module)

    def truths(self) -> tuple[Truth, ...]:
        """Found once for each model: they are the module's, whatever becomes of its file."""
        key = f"{fingerprint(self.module)} {self.declaration}"
        if key not in _truths:
            _truths[key] = self.trial().truths(cases_for(self.declaration))
        return _truths[key]

    def parity(
        self, runtimes: tuple[str, ...] = FAST, truths: tuple[Truth, ...] | None = None
    ) -> ParityReport:
        truths = self.truths() if truths is None else truths
        cases = tuple(truth.case for truth in truths)
        return self.trial().run(cases, [runtime_named(name) for name in runtimes], truths, lambda *_: None)

    def session(self) -> ort.InferenceSession:
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 3
        return ort.InferenceSession(self.path, options, providers=["CPUExecutionProvider"])

    def changed(self, path: Path, change: Callable[[onnx.ModelProto], None]) -> "Exported":
        """The same with another file, in which `change` was made."""
        model = onnx.load(self.path)
        change(model)
        path.write_bytes(model.SerializeToString())
        return replace(self, path=path)


def export(name: str, folder: Path, *extra: str, batch: str = "1", ops: str = "custom") -> Exported:
    """A small model (`extra` replaces some of its options) as a step model in `folder`."""
    declaration, module = SMALL[name].declare(*extra, batch=batch, seq=SEQ, ops=ops)
    declaration = declare_stream(declaration, module)
    path = folder / "model.onnx"
    save(build(module, declaration), path, False)
    return Exported(declaration, module, path)


def replay(exported: Exported, frames: np.ndarray, state: Arrays | None = None) -> tuple[np.ndarray, Arrays]:
    """ONNX Runtime alone, frame by frame: outputs `[batch, frames, hidden]` and the state after the last."""
    session = exported.session()
    names = [output.name for output in session.get_outputs()]
    state = initial_state(exported.declaration, len(frames)) if state is None else state
    outputs = []
    for t in range(frames.shape[1]):
        result = dict(zip(names, session.run(names, {"frame": frames[:, t : t + 1], **state}), strict=True))
        outputs.append(result["output"])
        state = {f"state.{name[len('next_state.') :]}": result[name] for name in names if name != "output"}
    return np.stack(outputs, 1), state
