"""Every golden vector through exported files, in every runtime that is here: each file is made once."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import onnx
import pytest
from onnx import numpy_helper
from torch import Tensor, nn

from temport import graphs
from temport.exporter.build import build, save
from temport.exporter.declare.architectures import declare
from temport.exporter.declare.declaration import Axis, Declaration, TensorSpec
from temport.exporter.parity.stream import Streamed
from temport.exporter.runtimes import RUNTIMES, runtime_named
from temport.exporter.runtimes.subject import Subject
from temport.exporter.streaming.declare import declare_stream
from tests.graphs.golden_cases import (
    BOUND,
    FUNCTIONS,
    LAYERS,
    MODELS,
    SINE_BOUND,
    Array,
    close,
    load_model,
    read,
    settings,
)

APART = ("torch_float32", "native_engine")
"""One is the source; the other needs an engine beside the file, and tests/native_engine has those."""
HERE = [name for name in RUNTIMES if runtime_named(name).unavailable() is None and name not in APART]
WINDOWS = ("mega", "lightning_posqk")
"""Models whose window is run in every run; in those of the others are the layers of these and of their own streams."""


def subject(module: nn.Module, declaration: Declaration, folder: Path) -> Subject:
    save(build(module, declaration), folder / "model.onnx", external_data=False)
    return Subject(declaration, folder / "model.onnx", module)


def of_module(
    module: nn.Module, inputs: dict[str, Array], outputs: dict[str, Array], folder: Path
) -> Subject:
    """A layer or a function for these very shapes."""
    axes = {size: Axis(f"axis{size}", size, size, size) for x in inputs.values() for size in x.shape[:2]}
    ins, outs = (
        tuple(
            TensorSpec(
                name, str(x.dtype), tuple(axes.get(n, n) if i < 2 else n for i, n in enumerate(x.shape))
            )
            for name, x in arrays.items()
        )
        for arrays in (inputs, outputs)
    )
    return subject(module, Declaration("module", {}, ins, outs, module="golden.py:make"), folder)


def run(of: Subject, inputs: dict[str, Array], expected: dict[str, Array], bounds: dict[str, float]) -> None:
    """Every runtime that takes the file, and some do."""
    ran = []
    for runtime in (runtime_named(name) for name in HERE):
        if runtime.capabilities.refusal(of.declaration) is None:
            with (Streamed(runtime) if of.declaration.streaming else runtime).open(of) as session:
                outputs = session.run(inputs)
            for name, output in expected.items():
                close(outputs[name], output, bounds[name], f"{name} in {runtime.name}")
            ran.append(runtime.name)
    assert {"onnx_reference", "op_reference", "onnxruntime_cpu"} <= set(ran)


@pytest.mark.filterwarnings("ignore:block_size")
@pytest.mark.parametrize(
    ("name", "form"),
    [
        *((name, "stream") for name in MODELS),
        *(
            pytest.param(name, "window", marks=() if name in WINDOWS else pytest.mark.thorough)
            for name in MODELS
        ),
    ],
)
def test_model(name: str, form: str, tmp_path: Path) -> None:
    """The last frame of a window, and every frame of a stream whose caches reach as far back."""
    case, (arch, _, bound) = read(name), MODELS[name]
    batch, seq, _ = map(str, case["input"].shape)
    declaration, module, _ = declare(arch, settings(name), batch=batch, seq=seq)
    load_model(name, case, module)
    if form == "stream":
        declaration = declare_stream(declaration, module)
    of = subject(module, declaration, tmp_path)
    expected = case["output_seq" if form == "stream" else "output"]
    run(of, {declaration.inputs[0].name: case["input"]}, {"output": expected}, {"output": bound})


class Layers(nn.Module):
    """Layers side by side in one graph, each with inputs of its own: tracing one by one would take thrice as long."""

    def __init__(self, layers: dict[str, nn.Module], inputs: dict[str, int]) -> None:
        super().__init__()
        self.layers, self.counts = nn.ModuleDict(layers), inputs

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        given = iter(inputs)
        return tuple(
            layer(*(next(given) for _ in range(self.counts[name]))) for name, layer in self.layers.items()
        )


def layers(names: Iterable[str], folder: Path) -> tuple[Subject, dict[str, Array], dict[str, Array]]:
    loaded = {name: LAYERS[name].load() for name in names}
    inputs = {f"{name}.{key}": x for name, (_, given, _) in loaded.items() for key, x in given.items()}
    outputs = {name: output for name, (_, _, output) in loaded.items()}
    counts = {name: len(given) for name, (_, given, _) in loaded.items()}
    module = Layers({name: layer for name, (layer, _, _) in loaded.items()}, counts).eval()
    return of_module(module, inputs, outputs, folder), inputs, outputs


def test_layers(tmp_path: Path) -> None:
    # memory_efficient is the op by another name
    of, inputs, outputs = layers([name for name in LAYERS if "memory_efficient" not in name], tmp_path)
    run(of, inputs, outputs, dict.fromkeys(outputs, BOUND))


class Functions(nn.Module):
    """All functions of the case `primitives` in one graph."""

    def forward(self, query: Tensor, key: Tensor, value: Tensor, x: Tensor) -> tuple[Tensor, ...]:
        q, k = graphs.apply_rope(query, key)
        rest = (graphs.add_positional_encoding(x), graphs.add_positional_encoding(x, scale=0.1), q, k)
        return (*(call(query, key, value) for call in FUNCTIONS.values()), graphs.qk_layer_norm(query), *rest)


def test_functions(tmp_path: Path) -> None:
    case = read("primitives")
    bounds = {**dict.fromkeys([*FUNCTIONS, "qk_layer_norm"], BOUND)}
    bounds |= dict.fromkeys(("posenc", "posenc_scale_0p1", "rope_q", "rope_k"), SINE_BOUND)
    inputs, outputs = ({key: case[key] for key in keys} for keys in (("query", "key", "value", "x"), bounds))
    run(of_module(Functions().eval(), inputs, outputs, tmp_path), inputs, outputs, bounds)


def test_a_wrong_weight_of_a_file_is_seen(tmp_path: Path) -> None:
    of, inputs, outputs = layers(["op"], tmp_path)
    model = onnx.load(of.model_path)
    weight = next(t for t in model.graph.initializer if t.dims == [32, 32])
    changed = numpy_helper.to_array(weight).copy()
    changed[3, 5] *= -1
    weight.CopyFrom(numpy_helper.from_array(changed, weight.name))
    onnx.save(model, of.model_path)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        run(of, inputs, outputs, {"op": BOUND})
