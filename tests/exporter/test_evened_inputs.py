"""Powers of two moved from a layer's inputs into its weight: where, without any rounding, and what it gains."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from torch import nn

import temport
from temport.exporter.compress import compress as compressing
from temport.exporter.compress import smoothing
from temport.exporter.compress.activations import with_rounded_inputs
from temport.exporter.compress.chain_steps import steps_of
from temport.exporter.compress.chains import chains
from temport.exporter.compress.compress import compress
from temport.exporter.compress.smoothing import chosen, smoothed
from temport.exporter.compress.wish import Wish
from temport.exporter.declare.declaration import Declaration, TensorSpec
from temport.exporter.onnx_source.module import OnnxModule
from temport.exporter.parity.cases import Case
from temport.exporter.parity.result import Compression
from temport.exporter.parity.trial import Trial
from temport.exporter.report.compression import told
from temport.exporter.verify import run_verify

K = 32


class Norm(nn.Module):
    """Of root mean squares, as people write it themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(K))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.gain


class Block(nn.Module):
    """Norms in front of layers, a ReLU and a gate between layers; what the last norm gives is read beside its layer."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.own, self.behind = nn.LayerNorm(K), Norm(), nn.LayerNorm(K)
        self.up, self.down = nn.Linear(K, K), nn.Linear(K, K)
        self.gate, self.side, self.back = nn.Linear(K, K), nn.Linear(K, K), nn.Linear(K, K)
        self.last = nn.Linear(K, K)
        self.drop = nn.Dropout(0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.down(self.drop(torch.relu(self.up(self.before(x)))))
        y = self.own(x)
        x = x + self.back(nn.functional.silu(self.gate(y)) * self.side(y))
        z = self.behind(x)
        return z + self.last(z)


FOUND = {
    "before.weight": ("up",),
    "up.weight": ("down",),
    "own.gain": ("gate", "side"),
    "side.weight": ("back",),
}


LAYERS = ("up", "down", "gate", "side", "back", "last")
DECLARATION = Declaration("module", {}, *((TensorSpec(name, "float32", (2, 9, K)),) for name in "xy"))


def found(module: nn.Module) -> dict[str, tuple[str, ...]]:
    subject = Trial.of(DECLARATION, Path(), module.eval()).source
    steps, results = steps_of(subject, {"x": np.ones((2, 9, K), np.float32)})
    layers = {step.layer for step in steps if step.layer is not None}
    return {chain.factors[0].name: tuple(sorted(chain.layers)) for chain in chains(steps, results, layers)}


def test_chains_lead_to_layers_and_nowhere_else() -> None:
    assert found(Block()) == FOUND


class Tied(Block):
    def __init__(self) -> None:
        super().__init__()
        self.down.weight = self.up.weight


class Twice(Block):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(super().forward(x))


class Shown(Block):
    """What a chain holds is given, read by another operation, and turned into other entries."""

    def forward(self, x: torch.Tensor) -> Any:
        y = self.before(x)
        hidden = self.up(y)
        square = self.own(hidden)[:, :4].reshape(-1, 4, K).flip(-1)
        return self.down(torch.relu(hidden)), y.sum(), self.gate(square)


class Named(nn.Module):
    """A layer that takes its input by name: between layers it is read, and it rounds."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down, self.beside = nn.Linear(K, K), nn.Linear(K, K), nn.LayerNorm(K)

    def forward(self, x: torch.Tensor) -> Any:
        y = self.up(input=x)
        return self.down(y), self.beside(input=y)


def test_an_input_by_name_is_rounded() -> None:
    module, x = Named(), torch.randn(4, K)
    with torch.no_grad():
        made, right = with_rounded_inputs(module, {"up": 0.5}, "int8")(x), module(torch.round(x / 0.5) * 0.5)
    assert torch.equal(made[0], right[0])


@pytest.mark.parametrize(
    ("module", "left"),
    [(Named, {}), (Tied, {"own.gain": ("gate", "side"), "side.weight": ("back",)}), (Twice, {}), (Shown, {})],
)
def test_what_is_read_elsewhere_stays(module: type[nn.Module], left: dict[str, Any]) -> None:
    assert found(module()) == left


GRAPH = """
<ir_version: 10, opset_import: ["": 21]>
g (float[n, 9, 32] x) => (float[n, 9, 32] y) {
  norm = LayerNormalization <axis = -1> (x, gain, shift)
  product = MatMul (norm, up)
  sum = Add (product, bias)
  active = Relu (sum)
  flat = Reshape (active, rows)
  turned = Gemm <transB = 1> (flat, down, last)
  rest = Relu (turned)
  end = Gemm (rest, back)
  back_again = Reshape (end, frames)
  y = Add (back_again, x)
}
"""


def graph(factor: float = 1.0) -> onnx.ModelProto:
    model = onnx.parser.parse_model(GRAPH)
    random = np.random.default_rng(0)
    sizes = {
        "gain": (K,),
        "shift": (K,),
        "up": (K, K),
        "bias": (K,),
        "down": (K, K),
        "last": (K,),
        "back": (K, K),
    }
    for name, size in sizes.items():
        array = random.standard_normal(size).astype(np.float32)
        array[:3] *= factor if name == "gain" else 1.0
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    for name, shape in (("rows", (-1, K)), ("frames", (-1, 9, K))):
        model.graph.initializer.append(numpy_helper.from_array(np.array(shape, np.int64), name))
    return model


def test_chains_of_a_file() -> None:
    """Its reshapes have shapes that nobody looks into, so a chain ends there."""
    assert found(OnnxModule(graph())) == {"gain": ("product",), "down": ("end",)}


def test_what_a_branch_reads_stays() -> None:
    model = graph()
    shape = helper.make_tensor_value_info("t", onnx.TensorProto.FLOAT, None)
    branch = helper.make_graph([helper.make_node("Identity", ["norm"], ["t"])], "branch", [], [shape])
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "always"))
    model.graph.node.append(
        helper.make_node("If", ["always"], ["seen"], then_branch=branch, else_branch=branch)
    )
    assert found(OnnxModule(model)) == {"down": ("end",)}


def test_a_layer_with_a_users_hook_stays() -> None:
    module = Block()
    module.up.register_forward_hook(lambda part, given, y: y + 1)
    assert found(module) == {name: FOUND[name] for name in ("own.gain", "side.weight")}


@given(st.integers(0, 2**32 - 1), st.integers(-8, 8))
@settings(max_examples=20, deadline=None)
def test_a_large_entry_is_moved_and_an_even_input_stays(seed: int, size: int) -> None:
    random = np.random.default_rng(seed)
    x, w = random.standard_normal((300, K)), random.standard_normal((24, K))
    assert chosen([np.zeros_like(x)], [w]) is None
    x *= 2.0**size
    x[:, seed % K] *= 100
    powers = chosen([x], [w])
    assert powers is not None and (np.exp2(np.rint(np.log2(powers))) == powers).all()
    assert powers[seed % K] > np.delete(powers, seed % K).max()


def large() -> Block:
    """Two entries of the norms' gains are."""
    torch.manual_seed(0)
    module = Block().eval()
    with torch.no_grad():
        for name in ("before.weight", "own.gain"):
            module.get_parameter(name)[3:5] *= 64
    return module


def recording() -> Case:
    x = np.random.default_rng(1).standard_normal((2, 9, K)).astype(np.float32)
    return Case("own", "normal", {"x": x})


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_model_is_the_same_to_the_last_bit(dtype: torch.dtype) -> None:
    module, axes = large(), dict.fromkeys((f"{layer}.weight" for layer in LAYERS), 1)
    subject = Trial.of(DECLARATION, Path(), module).source
    made, moved = smoothed(
        module,
        subject,
        recording().inputs,
        [recording()],
        {layer: f"{layer}.weight" for layer in LAYERS},
        axes,
    )
    assert moved["up"] == "before.weight" and moved["gate"] == moved["side"] == "own.gain"
    assert not torch.equal(made.get_parameter("own.gain"), module.get_parameter("own.gain"))
    x = torch.from_numpy(recording().inputs["x"]).to(dtype)
    with torch.no_grad():
        assert torch.equal(made.to(dtype)(x), copy.deepcopy(module).to(dtype)(x))


def test_a_recording_is_read_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be longer than any call: where the chains are is seen in a call of the usual length."""
    seen = []
    monkeypatch.setattr(smoothing, "steps_of", lambda subject, inputs: (seen.append(inputs), ([], set()))[1])
    usual = recording()
    compress(large(), DECLARATION, [usual], 0, Wish("int8", activations="int8"), [recording()])
    assert len(seen) == 1 and seen[0] is usual.inputs


def test_it_loses_less(monkeypatch: pytest.MonkeyPatch) -> None:
    wish = Wish("int8", activations="int8")

    def lost() -> Compression:
        return compress(large(), DECLARATION, [recording()], 0, wish, [recording()])[1]

    evened = lost()
    assert {layer.layer: layer.evened for layer in evened.inputs}["last"] is None
    assert "of 5 evened out by powers of two" in told(evened)
    monkeypatch.setattr(compressing, "smoothed", lambda module, *_: (module, {}))
    before = lost()
    assert evened.losses[0].rms < 0.5 * before.losses[0].rms


def test_the_loss_is_that_of_the_trained_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where evening changed it."""

    def damaged(module: nn.Module, *_: Any) -> tuple[nn.Module, dict[str, str]]:
        made = copy.deepcopy(module)
        with torch.no_grad():
            next(iter(made.parameters())).mul_(2)
        return made, {}

    monkeypatch.setattr(compressing, "smoothed", damaged)
    wish = Wish("int8", activations="int8")
    assert compress(large(), DECLARATION, [recording()], 0, wish, [recording()])[1].losses[0].largest > 0.1


def test_a_file_is_evened_and_made_anew(tmp_path: Path) -> None:
    onnx.save(graph(64.0), tmp_path / "m.onnx")
    np.save(tmp_path / "x.npy", recording().inputs["x"])
    done = temport.export(
        onnx=str(tmp_path / "m.onnx"),
        weights_dtype="int8",
        activations="int8",
        calibrate=str(tmp_path / "x.npy"),
        runtimes=("onnxruntime_native",),
        out=tmp_path / "b",
    )
    assert done.passed and done.report.compression is not None
    assert {row.layer: row.evened for row in done.report.compression.inputs}["product"] == "gain"
    assert run_verify(done.path)
