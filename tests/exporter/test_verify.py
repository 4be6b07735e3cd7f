"""`temport verify`: a model that is not what its source makes is seen, whatever its hashes and its names say."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

import temport
from temport.exporter.bundle.directory import open_bundle, write_manifest
from temport.exporter.cli import app
from temport.exporter.declare.declaration import Declaration

OWN = """
from torch import nn

class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x):
        return self.layer(x).relu()
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made")
    settings = ("embed_dim=6", "num_heads=1", "head_dim=6", "num_layers=1", "ffn_dim=12", "window_size=4")
    temport.export(
        "sliding_window",
        settings=settings,
        seq="9",
        streaming=True,
        runtimes=("onnxruntime_cpu",),
        out=out / "b",
    )
    return out / "b"


@pytest.fixture
def bundle(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "b"))


def verify(*words: str | Path) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["verify", *map(str, words)], catch_exceptions=False)
    return done.exit_code, done.output


def tamper(bundle: Path, change: Callable[[onnx.ModelProto], None]) -> None:
    """Change the model and everything that vouches for it."""
    declaration = Declaration.from_json(json.loads((bundle / "manifest.json").read_text())["declaration"])
    model = onnx.load(bundle / "model.onnx")
    change(model)
    onnx.save(model, bundle / "model.onnx")
    write_manifest(bundle, declaration, [], {})
    open_bundle(bundle)  # which notices nothing


def replace_body(model: onnx.ModelProto) -> None:
    """The body of an attention, twice what it was, under the same name."""
    (body,) = (f for f in model.functions if f.name == "CachedAttention")
    (last,) = (node for node in body.node if body.output[0] in node.output)
    last.output[list(last.output).index(body.output[0])] = "half"
    body.node.append(onnx.helper.make_node("Add", ["half", "half"], [body.output[0]]))


def test_an_export_is_what_its_source_makes(bundle: Path) -> None:
    code, said = verify(bundle, "--digest", open_bundle(bundle).digest, "--strict")
    assert code == 0
    assert "made anew of sliding_window and weights.safetensors, byte for byte" in said
    assert f"the same, digest {open_bundle(bundle).digest}" in said


def test_a_replaced_body_is_seen(bundle: Path) -> None:
    tamper(bundle, replace_body)
    code, said = verify(bundle)
    assert code == 1
    assert "differs: model.onnx" in said and "differs: the body of temport::CachedAttention" in said


def test_a_changed_weight_is_seen(bundle: Path) -> None:
    def change(model: onnx.ModelProto) -> None:
        weight = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
        values = np.frombuffer(weight.raw_data, np.float32).copy()
        values[0] += 0.5
        weight.raw_data = values.tobytes()

    tamper(bundle, change)
    code, said = verify(bundle)
    assert code == 1 and "differs: model.onnx" in said and "the body of" not in said


@pytest.mark.parametrize("change", [replace_body, None], ids=["replaced", "one of ONNX's own"])
def test_without_the_source_the_bodies_are_compared(
    bundle: Path, change: Callable[[onnx.ModelProto], None] | None
) -> None:
    """As where a bundle was made of a module that the caller does not name; here it lacks the weights to make it of."""
    (bundle / "weights.safetensors").unlink()
    tamper(bundle, lambda model: None)
    code, said = verify(bundle)
    assert code == 0 and "only the function bodies" in said and "were not compared" in said

    def override(model: onnx.ModelProto) -> None:
        """A body for an operator of ONNX: a runtime may take it instead of its own."""
        opset = onnx.helper.make_opsetid("", 18)
        node = onnx.helper.make_node("Neg", ["x"], ["y"])
        model.functions.append(onnx.helper.make_function("", "Softplus", ["x"], ["y"], [node], [opset]))

    tamper(bundle, change or override)
    code, said = verify(bundle)
    assert code == 1 and "differs: the body of" in said


def test_a_module_is_made_anew_where_the_caller_names_it(tmp_path: Path) -> None:
    source = tmp_path / "own.py"
    source.write_text(OWN)
    temport.export(
        module=f"{source}:Own",
        shapes=("x=batch,seq,8",),
        seq=6,
        runtimes=("onnxruntime_cpu",),
        out=tmp_path / "b",
    )
    assert "only the function bodies" in verify(tmp_path / "b")[1]
    code, said = verify(tmp_path / "b", "--module", f"{source}:Own")
    assert code == 0 and f"made anew of {source}:Own" in said.replace("\n", "")
    source.write_text(OWN.replace("relu", "tanh"))
    assert verify(tmp_path / "b", "--module", f"{source}:Own")[0] == 1


def test_what_cannot_be_read_is_bad_input(bundle: Path, tmp_path: Path) -> None:
    assert verify(tmp_path / "none")[0] == 2
    assert verify(bundle, "--digest", "0" * 64)[0] == 2

    def unknown(model: onnx.ModelProto) -> None:
        model.graph.node.append(onnx.helper.make_node("Abacus", ["frame"], ["z"], domain="temport"))

    tamper(bundle, unknown)
    code, said = verify(bundle)
    assert code == 2 and "holds ops that have no body here" in said.replace("\n", " ")
