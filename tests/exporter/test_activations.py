"""Every activation of torch behind a dense layer: its numbers in every runtime, and which the op of the layer takes."""

from __future__ import annotations

from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from temport.exporter.export import export

OTHERS = {"MultiheadAttention", "Softmax2d"}
"""In torch's list of activations, and none of a dense layer."""
WORDS = {"ReLU": "relu", "GELU": "gelu", "Sigmoid": "sigmoid", "SiLU": "silu"}
"""Those that the op FusedDense computes itself."""
MADE = {
    "CELU": nn.CELU(0.6),
    "ELU": nn.ELU(0.7),
    "GELU": nn.GELU(),
    "GELU_tanh": nn.GELU("tanh"),
    "GLU": nn.GLU(),
    "Hardshrink": nn.Hardshrink(0.3),
    "Hardtanh": nn.Hardtanh(-0.5, 0.8),
    "LeakyReLU": nn.LeakyReLU(0.2),
    "LogSoftmax": nn.LogSoftmax(-1),
    "PReLU": nn.PReLU(),
    "PReLU_each": nn.PReLU(8),
    "RReLU": nn.RReLU(0.1, 0.5),
    "Softmax": nn.Softmax(-1),
    "Softmin": nn.Softmin(-1),
    "Softplus": nn.Softplus(2.0, 5.0),
    "Softshrink": nn.Softshrink(0.2),
    "Threshold": nn.Threshold(0.1, -0.3),
}
"""Those that take numbers, with some; the others as they come."""


class Activations(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        usual = {n: getattr(nn, n)() for n in nn.modules.activation.__all__ if n not in {*OTHERS, *MADE}}
        self.activations = nn.ModuleDict(usual | MADE)
        self.layers = nn.ModuleDict({name: nn.Linear(8, 8) for name in self.activations})

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        values = {name: layer(x) for name, layer in self.layers.items()}
        per_channel = values["PReLU_each"].transpose(1, 2)  # torch's channels are the second axis
        return {
            name: self.activations[name](per_channel if name == "PReLU_each" else value)
            for name, value in values.items()
        }


def test_every_activation_of_torch_has_its_numbers_in_every_runtime(tmp_path: Path) -> None:
    found = export(
        Activations(),
        {"x": torch.zeros(2, 6, 8)},
        axes={"x": {0: "batch", 1: "seq"}},
        ranges={"batch": (1, 2, 3), "seq": (1, 6, 9)},
        out=str(tmp_path / "bundle"),
    )
    assert found.passed, found.report.reasons
    ran = {row.name for row in found.report.runtimes if row.verdict == "pass"}
    assert {"onnx_reference", "op_reference", "onnxruntime_cpu", "onnxruntime_native", "openvino"} <= ran
    model = onnx.load(found.path / "model.onnx")
    made = {output: node for node in model.graph.node for output in node.output}
    for name, word in WORDS.items():
        given = {a.name: onnx.helper.get_attribute_value(a) for a in made[name].attribute}
        assert (made[name].op_type, given["activation"]) == ("FusedDense", word.encode())
