"""Every architecture as an engine, windows of all sizes and streams: all in one engine, for compiling takes the time.

Truth of a window is its torch module in float64, that of a stream ONNX Runtime with the standard operators of its file.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from torch import nn

from temport.exporter.build import save
from temport.exporter.declare.declaration import AFTER, BEFORE, Axis
from temport.exporter.graph.retyped import retyped
from tests.exporter.streams import SEQ, Exported, export, replay
from tests.native_engine.engine_of_graphs import AS_USERS, QUICK, Small, merged
from tests.small_models import OPEN, SMALL
from tests.traces import build

Arrays = dict[str, np.ndarray]

AXES = {name: Axis(name, *map(int, sizes.split(":"))) for name, sizes in OPEN.items()}
SIZES = (
    {"batch": 1, "seq": 1, "memory": 1},
    {"batch": 2, "seq": 18, "memory": 40},
    {"batch": 3, "seq": 61, "memory": 61},
)
CLOSED = {"batch": "2", "seq": "41", "memory": "23"}
ALIKE = {"attention", "dms-causal", "hybrid_mlp", "lightning-unnormalised", "mega-l1", "mega-laplace"}
"""Small models that have the layers of others, or operators between them that test_forms or a stream here has."""
OPENED = {f"{name}, open": (name, OPEN) for name in SMALL}
WINDOWS = {
    **{name: asked for name, asked in OPENED.items() if asked[0] not in ALIKE},
    **{f"{name}, closed": (name, CLOSED) for name in ("sliding_window", "lightning-elu1")},
}
STREAMS = ("sliding_window", "mega-laplace", "lightning-elu1")
"""Rings, caches that standard operators read, and sums."""
FRAMES = 2 * int(SEQ) + 5
"""Rings hold SEQ of them."""
ROUNDING = 4e-6
"""Of the largest output."""


@dataclass(frozen=True)
class Window:
    """A model of whole sequences: as a file, and its truth."""

    model: onnx.ModelProto
    module: nn.Module

    def inputs(self, sizes: Mapping[str, int], rng: np.random.Generator) -> Arrays:
        drawn = {}
        for value in self.model.graph.input:
            kind = value.type.tensor_type
            shape = [sizes[d.dim_param] if d.dim_param else d.dim_value for d in kind.shape.dim]
            bits = rng.random(shape) < 0.7
            bits[..., :1] = True
            drawn[value.name] = (
                bits if kind.elem_type == TensorProto.BOOL else rng.standard_normal(shape, np.float32)
            )
        return drawn

    def truth(self, inputs: Arrays) -> np.ndarray:
        """In float64."""
        given = [torch.from_numpy(x) for x in inputs.values()]
        with torch.no_grad():
            wide = copy.deepcopy(self.module).double()
            return wide(*(x.double() if x.is_floating_point() else x for x in given)).numpy()


@cache
def window(name: str, axes: tuple[tuple[str, str], ...], **how: str) -> Window:
    declaration, module = SMALL[name].declare(**dict(axes))
    declaration = replace(declaration, **how)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        save(build(module, declaration), path, external_data=False)
        return Window(onnx.load(path), module)


def half_declared() -> onnx.ModelProto:
    """Half precision that is declared, inside and outside."""
    weight = numpy_helper.from_array(np.linspace(-1, 1, 15, dtype=np.float16).reshape(3, 5), "w")
    x, y = (
        helper.make_tensor_value_info(n, TensorProto.FLOAT16, ["batch", d]) for n, d in (("x", 3), ("y", 5))
    )
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], "mm")], "half", [x], [y], [weight]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])


class Together:
    """Models as one engine; the names of model n have `m<n>_` before them."""

    def __init__(self, models: list[onnx.ModelProto], directory: Path, compiler: str) -> None:
        whole = merged([renamed(model, f"m{n}_") for n, model in enumerate(models)])
        self._instance = Small(whole, directory, AXES, compiler, streaming=True)._instance

    def reset(self) -> None:
        self._instance._memory[:] = 255
        self._instance.reset()

    def run(self, inputs: Mapping[int, Arrays], sizes: Mapping[str, int]) -> dict[int, np.ndarray]:
        """The output of each model; of a stream, of one frame."""
        given = {f"m{n}_{name}": x for n, each in inputs.items() for name, x in each.items()}
        found = self._instance.run({"axes": np.zeros([sizes[name] for name in AXES], bool), **given})
        return {int(name[1:].split("_")[0]): y for name, y in found.items()}

    def states(self, model: int, sizes: Mapping[str, int]) -> Arrays:
        """Of a stream, by the names of its own inputs."""
        start = f"{BEFORE}m{model}_"
        states = self._instance.store(sizes)
        return {BEFORE + name.removeprefix(start): x for name, x in states.items() if name.startswith(start)}


def renamed(model: onnx.ModelProto, prefix: str) -> onnx.ModelProto:
    """A copy with other names, and without the bodies of our ops, which have kernels."""

    def name(old: str) -> str:
        start = next((start for start in (BEFORE, AFTER) if old.startswith(start)), "")
        return f"{start}{prefix}{old.removeprefix(start)}" if old else ""

    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    del copied.functions[:]
    graph = copied.graph
    for node in graph.node:
        node.name, node.input[:], node.output[:] = (
            name(node.name),
            map(name, node.input),
            map(name, node.output),
        )
    for value in (*graph.input, *graph.output, *graph.initializer, *graph.value_info):
        value.name = name(value.name)
    return copied


def wrong(found: np.ndarray, right: np.ndarray, bound: float = ROUNDING) -> str:
    """What is wrong; empty where nothing is."""
    if found.shape != right.shape:
        return f"shape {found.shape}, not {right.shape}"
    error, size = float(np.abs(found.astype(np.float64) - right).max()), float(np.abs(right).max())
    return "" if error <= bound * max(size, 1.0) else f"off by {error:.3g} of {size:.3g}"


@dataclass(frozen=True)
class All:
    """The models of this file in one engine, in the order of WINDOWS, STREAMS and the others."""

    windows: dict[str, Window]
    streams: dict[str, Exported]
    others: dict[str, onnx.ModelProto]
    engine: Together

    def number(self, name: str) -> int:
        return [*self.windows, *self.streams, *self.others].index(name)


def masked_otherwise(name: str, change: str) -> onnx.ModelProto:
    """A window whose attention has another mask: the tests have to see it."""
    model = onnx.ModelProto()
    model.CopyFrom(window(name, tuple(OPEN.items())).model)
    for node in model.graph.node:
        if node.op_type == "OnlineSoftmaxAttention" and change == "window":
            (width,) = (a for a in node.attribute if a.name == "window")
            width.i += 1
        elif node.op_type == "OnlineSoftmaxAttention":
            node.input[3] = ""
    return model


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((WINDOWS, QUICK), id="those unlike others"),
        pytest.param((OPENED | WINDOWS, AS_USERS), id="all", marks=pytest.mark.thorough),
    ],
)
def models(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> All:
    asked, compiler = request.param
    windows = {name: window(arch, tuple(axes.items())) for name, (arch, axes) in asked.items()}
    streams = {name: export(name, tmp_path_factory.mktemp(name), batch=OPEN["batch"]) for name in STREAMS}
    plain = window("sliding_window", tuple(CLOSED.items()), ops="standard", precision="float16")
    others = {
        "half": plain.model,
        "half declared": half_declared(),
        "another window": masked_otherwise("sliding_window", "window"),
        "no mask": masked_otherwise("dms-masked", "key_mask"),
    }
    protos = [each.model for each in windows.values()]
    protos += [onnx.load(each.path) for each in streams.values()]
    engine = Together([*protos, *others.values()], tmp_path_factory.mktemp("together"), compiler)
    return All(windows, streams, others, engine)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_windows_and_streams(models: All, sizes: dict[str, int]) -> None:
    """Each frame of the streams is run beside the windows. A mask that is another one is seen."""
    rng = np.random.default_rng(sizes["seq"])
    inputs = {models.number(name): each.inputs(sizes, rng) for name, each in models.windows.items()}
    wrong_ones = {"another window": "sliding_window, open", "no mask": "dms-masked, open"}
    inputs |= {models.number(wrong): inputs[models.number(right)] for wrong, right in wrong_ones.items()}
    half = Window(models.others["half"], nn.Identity()).inputs(sizes, rng)
    declared = rng.standard_normal((sizes["batch"], 3)).astype(np.float16)
    inputs |= {models.number("half"): half, models.number("half declared"): {"x": declared}}
    frames = {
        name: rng.standard_normal((sizes["batch"], FRAMES, each.declaration.inputs[0].shape[-1]), np.float32)
        for name, each in models.streams.items()
    }
    models.engine.reset()
    found = []
    for frame in range(FRAMES):
        newest = {
            models.number(name): {"frame": np.ascontiguousarray(x[:, frame : frame + 1])}
            for name, x in frames.items()
        }
        found.append(models.engine.run({**inputs, **newest}, sizes))

    off = {}
    truths = {
        models.number(name): each.truth(inputs[models.number(name)]) for name, each in models.windows.items()
    }
    for name in models.windows:
        off[name] = wrong(found[0][models.number(name)], truths[models.number(name)])
    for name, each in models.streams.items():
        outputs, states = replay(each, frames[name])
        off[name] = wrong(np.stack([y[models.number(name)] for y in found], 1), outputs)
        for state, kept in models.engine.states(models.number(name), sizes).items():
            off[state] = wrong(kept, states[state])
    rounded = ReferenceEvaluator(retyped(models.others["half"], TensorProto.DOUBLE))
    (exact,) = rounded.run(None, {name: x.astype(np.float64) for name, x in half.items()})
    off["half"] = wrong(found[0][models.number("half")], exact)
    product = declared.astype(np.float64) @ numpy_helper.to_array(
        models.others["half declared"].graph.initializer[0]
    )
    off["half declared"] = wrong(found[0][models.number("half declared")], product, 2.0**-11)
    assert {name: told for name, told in off.items() if told} == {}
    if sizes["seq"] > 8:
        seen = [
            w for w, r in wrong_ones.items() if wrong(found[0][models.number(w)], truths[models.number(r)])
        ]
        assert seen == list(wrong_ones)
