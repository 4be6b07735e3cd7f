"""erfc in ONNX keeps its relative accuracy in the tail, where 1 - Erf has none left."""

import numpy as np
import onnxruntime as ort
import torch

from temport.exporter.declare.declaration import Axis, Declaration, TensorSpec
from temport.exporter.trace.torch_to_onnx import to_onnx


class Erfc(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.erfc(x)


def test_relative_error_over_the_whole_range() -> None:
    import onnx_ir as ir

    z = np.linspace(-6, 9, 4001, dtype=np.float32)[None]
    spec = TensorSpec("x", "float32", (Axis("batch", 1, 1, 1), z.shape[1]))
    declaration = Declaration("module", {}, (spec,), (TensorSpec("output", "float32", spec.shape),))
    model = ir.to_proto(to_onnx(Erfc().eval(), declaration))
    (got,) = ort.InferenceSession(model.SerializeToString()).run(None, {"x": z})
    truth = torch.erfc(torch.from_numpy(z).double()).numpy()
    relative = np.abs(got - truth) / truth
    # exp(-z^2) multiplies the rounding of z^2, half a unit in the last place, by z^2
    assert (relative <= 4 * np.finfo(np.float32).eps * (1 + z.astype(np.float64) ** 2)).all()
    naive = np.abs((1 - torch.erf(torch.from_numpy(z)).numpy()) - truth) / truth
    assert naive[z > 4].max() > 0.1
