"""Programs of torch.export as the source, at hand and as `.pt2` files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from temport.exporter.bundle.directory import open_bundle
from temport.exporter.declare.program import load_program, program_module, program_specs
from temport.exporter.errors import UserError
from temport.exporter.export import export, run_export
from temport.exporter.recheck import run_parity_of_bundle
from temport.exporter.request import ExportRequest, declared, default_out
from temport.exporter.terminal import Terminal

FEW = ("onnxruntime_cpu",)
pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # torch's own, at every copy


class Net(nn.Module):
    """Two inputs, one of them inside a dictionary, ids in a list; says its type, as traces like to."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.table = nn.Linear(4, 3), nn.Embedding(9, 3)

    def forward(self, x, obs):
        y = self.layer(x).float() + obs["left"] + self.table(obs["ids"][0])
        return {"y": y[:, ::2], "best": y.argmax(-1)}


@pytest.fixture(scope="module")
def program() -> ExportedProgram:
    torch.manual_seed(0)
    batch, seq = Dim("batch", min=1, max=16), Dim("seq", min=3, max=64)
    open_ones = {0: batch, 1: seq}
    inputs = (torch.randn(2, 9, 4), {"left": torch.randn(2, 9, 3), "ids": [torch.arange(9).repeat(2, 1)]})
    return torch.export.export(
        Net().eval(), inputs, dynamic_shapes=(open_ones, {"left": open_ones, "ids": [open_ones]})
    )


@pytest.fixture(scope="module")
def file(program: ExportedProgram, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("programs") / "net.pt2"
    torch.export.save(program, path)
    return path


def test_a_program_states_its_inputs(program: ExportedProgram) -> None:
    x, left, tokens = program_specs(program)
    assert (x.name, left.name, tokens.name) == ("x", "obs.left", "obs.ids.0")
    assert [str(axis) for axis in x.axes()] == ["1:2:16", "3:9:64"]
    assert left.onnx_shape() == ["x_0", "x_1", 3] and tokens.onnx_shape() == ["x_0", "x_1"]
    assert str(tokens.values) == "0:9" and x.values is None
    with pytest.raises(UserError, match="the program has no axis 'seq'; known: x_0, x_1"):
        program_specs(program, {"seq": 4})


def test_a_program_computes_in_float64(program: ExportedProgram) -> None:
    """Its trace asserts float32, and casts to it: the oracle would be no oracle."""
    module = program_module(program).to(torch.float64).eval()
    x, left = torch.randn(1, 5, 4, dtype=torch.float64), torch.zeros(1, 5, 3, dtype=torch.float64)
    found = module(x, {"left": left, "ids": [torch.zeros(1, 5, dtype=torch.int64)]})["y"]
    state = {name: tensor.double() for name, tensor in program.state_dict.items()}
    expected = x @ state["layer.weight"].T + state["layer.bias"] + state["table.weight"][0]
    torch.testing.assert_close(found, expected[:, ::2], rtol=0, atol=1e-15)


def test_a_program_at_hand_becomes_a_bundle(program: ExportedProgram, tmp_path: Path) -> None:
    found = export(program, ranges={"x_1": (3, 9, 20)}, out=tmp_path / "b", runtimes=FEW)
    assert found.passed
    declaration = open_bundle(found.path).declaration
    assert [spec.onnx_shape() for spec in declaration.outputs] == [
        ["x_0", "(x_1 + 1) // 2", 3],
        ["x_0", "x_1"],
    ]
    x, left, tokens = (
        np.random.default_rng(0).random((2, 7, 4), np.float32),
        np.ones((2, 7, 3), np.float32),
        np.ones((2, 7), np.int64),
    )
    session = onnxruntime.InferenceSession(found.path / "model.onnx", providers=["CPUExecutionProvider"])
    got = session.run(None, {"x": x, "obs.left": left, "obs.ids.0": tokens})
    truth = program.module()(
        torch.from_numpy(x), {"left": torch.from_numpy(left), "ids": [torch.from_numpy(tokens)]}
    )
    np.testing.assert_allclose(got[0], truth["y"].detach(), atol=1e-6)
    np.testing.assert_array_equal(got[1], truth["best"])


def test_a_file_is_exported_and_checked_again(file: Path, tmp_path: Path) -> None:
    quiet = Terminal(quiet=True)
    shapes = ("x=batch,seq,4", "obs.left=batch,seq,3", "obs.ids.0:int64[0:9]=batch,seq")
    request = ExportRequest(
        module=str(file),
        shapes=shapes,
        batch="2",
        seq="3:5:8",
        precision="fp16",
        out=tmp_path / "b",
        runtimes=FEW,
    )
    bundle = run_export(request, quiet)
    assert bundle.passed, bundle.report.reasons
    assert run_parity_of_bundle(bundle.path, FEW, console=quiet, source=str(file))
    assert default_out(declared(ExportRequest(module=str(file)))[0]) == Path("bundles/net")


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"seq": "9"}, "the program has no axis 'seq'"),
        ({"axes": ("x_1=1:2:4",)}, "does not run with"),
        ({"module": "nowhere.pt2"}, "nowhere.pt2 does not exist"),
    ],
)  # fmt: skip
def test_what_a_program_cannot_do_is_one_sentence(
    asked: dict[str, object], sentence: str, file: Path
) -> None:
    with pytest.raises(UserError, match=sentence):
        declared(ExportRequest(**{"module": str(file), **asked}))  # type: ignore[arg-type]


def test_a_file_that_is_no_program_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "net.pt2").write_bytes(b"PK\x03\x04")
    with pytest.raises(UserError, match=r"net\.pt2 is no program of torch\.export\.save: "):
        load_program(tmp_path / "net.pt2")
