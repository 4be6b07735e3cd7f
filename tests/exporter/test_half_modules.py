"""Modules in half precision that compute parts of themselves in float32: exported, and with the right numbers."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import temport
from temport.exporter.declare.copied import copied
from temport.exporter.declare.live import input_specs
from temport.exporter.declare.modules import declare_live
from temport.exporter.runtimes.subject import Subject
from temport.exporter.runtimes.torch_eager import Source


class Mixed(nn.Module):
    """float16, but for its normalisation and its values; types are named in every way that users name them."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.norm, self.policy = nn.Linear(8, 8), nn.LayerNorm(8), nn.Linear(8, 3)
        self.half()
        self.norm.float()
        nn.init.normal_(self.norm.weight)  # numbers that float16 does not hold
        self.register_buffer("shift", torch.full((8,), 1 / 3), persistent=False)  # in no file of weights

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        y = F.softmax(self.inner(x), -1, dtype=torch.float32).to(torch.float16)
        y = self.norm((y + torch.ones(8, dtype=torch.float16)).float()) + self.shift
        y = y.to(self.inner.weight.dtype)
        policy = self.policy(y.float().half())
        return {"policy": policy.float(), "state": y, "best": policy.argmax(-1)}


def wide(model: Mixed, x: np.ndarray) -> dict[str, np.ndarray]:
    """The same by hand in float64, with the weights that the module has."""
    weights = {name: tensor.detach().double().numpy() for name, tensor in model.named_parameters()}
    y = x @ weights["inner.weight"].T + weights["inner.bias"]
    y = np.exp(y - y.max(-1, keepdims=True))
    y = y / y.sum(-1, keepdims=True) + 1
    y = (y - y.mean(-1, keepdims=True)) / np.sqrt(y.var(-1, keepdims=True) + 1e-5)
    y = y * weights["norm.weight"] + weights["norm.bias"] + model.shift.double().numpy()
    return {"state": y, "policy": y @ weights["policy.weight"].T + weights["policy.bias"]}


def test_the_oracle_rounds_nowhere_and_outputs_have_the_types_of_the_source(tmp_path) -> None:
    torch.manual_seed(0)
    model, x = Mixed(), torch.randn(2, 5, 8).half()
    declaration, called = declare_live(model, "a module of a test", input_specs(model, {"x": x}))
    types = {spec.name: spec.dtype for spec in declaration.outputs}
    assert (
        types == {"policy": "float32", "state": "float16", "best": "int64"}
        and declaration.precision == "float16"
    )
    subject = Subject(declaration, tmp_path / "model.onnx", called)
    found = {}
    for dtype in ("float64", "float32", "float16"):
        with Source(dtype).open(subject) as session:
            found[dtype] = session.run({"x": x.numpy()})
    for name, right in wide(model, x.double().numpy()).items():
        np.testing.assert_allclose(found["float64"][name], right, rtol=0, atol=1e-12)
        assert 1e-9 < np.abs(found["float32"][name] - right).max() < 1e-5  # nor is its end rounded to float16
        own = model(x)[name].detach().numpy()
        np.testing.assert_array_equal(found["float16"][name], own)
    assert model.norm.weight.dtype == torch.float32 and model.inner.weight.dtype == torch.float16
    inside = copied(nn.Sequential(called), torch.float16, torch.float64)[0].model
    assert torch.equal(inside.norm.weight, model.norm.weight.double()), "wherever the module stands"


def test_it_is_exported(tmp_path) -> None:
    torch.manual_seed(0)
    model, x = Mixed(), torch.randn(2, 5, 8).half()
    bundle = temport.export(
        model, {"x": x}, runtimes=("onnxruntime_cpu", "torch_float32"), out=tmp_path / "bundle"
    )
    assert bundle.passed, bundle.report.reasons
    got = temport.load(bundle.path)({"x": x.numpy()})
    assert {name: y.dtype.name for name, y in got.items()} == {
        "policy": "float32",
        "state": "float16",
        "best": "int64",
    }
