"""`--kv-dtype fp16`: what a stream with rings of float16 is, against attention written by hand; and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from test_compressed_weights import spoil
from torch import Tensor, nn

import temport
from temport.exporter.add_target import add_target
from temport.exporter.bundle.directory import open_bundle
from temport.exporter.compilers.contract import CompileOptions
from temport.exporter.declare.declaration import Declaration
from temport.exporter.declare.live import input_specs, source_of
from temport.exporter.declare.modules import declare_live
from temport.exporter.errors import UserError
from temport.exporter.parity.cases import Case
from temport.exporter.parity.oracle import find_truths
from temport.exporter.parity.trial import Trial
from temport.exporter.progress import Progress
from temport.exporter.recheck import run_parity_of_bundle
from temport.exporter.runtimes.subject import Subject
from temport.exporter.runtimes.torch_eager import FLOAT64
from temport.exporter.streaming.declare import declare_stream
from temport.exporter.streaming.half_rings import declared_halves
from temport.exporter.terminal import Terminal
from temport.exporter.verify import run_verify

HORIZON, WIDTH = 6, 8


class Causal(nn.Module):
    """Two heads of attention to the frames so far, over a layer that makes queries, keys and values."""

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(width, 3 * width)

    def forward(self, frames: Tensor) -> Tensor:
        q, k, v = self.heads(frames)
        y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return y.transpose(1, 2).flatten(2)

    def heads(self, frames: Tensor) -> list[Tensor]:
        return [x.unflatten(-1, (2, -1)).transpose(1, 2) for x in self.layer(frames).chunk(3, dim=-1)]

    def by_hand(self, frames: Tensor, halves: bool = True) -> Tensor:
        """The same in a window, keys and values through torch's float16."""
        q, k, v = self.heads(frames)
        if halves:
            k, v = k.half().to(k.dtype), v.half().to(v.dtype)
        age = torch.arange(frames.shape[1])[:, None] - torch.arange(frames.shape[1])
        scores = (q @ k.mT / (WIDTH // 2) ** 0.5).masked_fill((age < 0) | (age >= HORIZON), -torch.inf)
        return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)


GIVEN = {"frames": torch.zeros(1, HORIZON, WIDTH)}
OPEN = {"frames": {0: "batch", 1: "seq"}}


def streamed(module: nn.Module, kv_dtype: str = "fp16") -> tuple[Declaration, nn.Module]:
    declaration, called = declare_live(
        module, source_of(module), input_specs(module, GIVEN, OPEN, {"batch": 1, "seq": HORIZON})
    )
    return declare_stream(replace(declaration, kv_dtype=kv_dtype), called), called


def test_the_truth_is_the_model_with_its_keys_and_values_rounded() -> None:
    module = Causal()
    stream = streamed(module)
    states = {s.name: s.dtype for s in stream[0].inputs if s.name.startswith("state.")}
    assert sorted(states.values()) == ["float16", "float16", "int64"]
    frames = torch.randn(1, 4 * HORIZON, WIDTH)
    with FLOAT64.open(Trial.of(stream[0], Path(), stream[1]).source) as oracle:
        (output,) = oracle.run({"frames": frames.numpy()}).values()
    exact = module.double()
    right, plain = (exact.by_hand(frames.double(), halves).detach().numpy() for halves in (True, False))
    np.testing.assert_allclose(output, right, rtol=0, atol=1e-12)
    assert np.abs(right - plain).max() > 1e-5, "which is another stream"


class Masked(Causal):
    """With a flag for each frame, whether its key is seen: rings in standard operators."""

    def forward(self, frames: Tensor, seen: Tensor) -> Tensor:
        q, k, v = self.heads(frames)
        causal = torch.ones(frames.shape[1], frames.shape[1], dtype=torch.bool).tril()
        y = nn.functional.scaled_dot_product_attention(q, k, v, causal & seen[:, None, None])
        return y.transpose(1, 2).flatten(2)


@pytest.mark.parametrize(
    ("runtime", "target"),
    [("onnxruntime", None), pytest.param("native", "native", marks=pytest.mark.thorough)],
)
def test_rings_under_a_mask_of_keys_are_rounded_too(runtime: str, target: str | None, tmp_path: Path) -> None:
    """In ONNX's operators; where every frame is seen, what is right is known. Single keys may be next to a border."""
    module, seen = Masked(), torch.ones(1, HORIZON, dtype=torch.bool)
    made = temport.export(
        module,
        GIVEN | {"seen": seen},
        axes=OPEN | {"seen": OPEN["frames"]},
        ranges={"batch": 1, "seq": HORIZON},
        streaming=True,
        kv_dtype="fp16",
        target=target,
        runtimes=("onnxruntime_cpu", "op_reference"),
        out=tmp_path / "b",
    )
    assert made.passed
    states = {s.dtype for s in open_bundle(made.path).declaration.inputs if s.name.startswith("state.")}
    assert states == {"float16", "bool", "int64"}
    frames = torch.randn(1, 3 * HORIZON, WIDTH)
    right, plain = (
        module.double().by_hand(frames.double(), halves).detach().numpy() for halves in (True, False)
    )
    given = [{"frames": frames[:, [t]].numpy(), "seen": np.ones((1, 1), bool)} for t in range(3 * HORIZON)]
    stream = temport.load(made.path, runtime=runtime).stream()
    found = np.stack([stream(g) for g in given], 1)
    assert np.abs(found - right).max() < 1e-3
    assert np.mean(np.abs(found - right) < 2e-6) > 0.8 > 0.2 > np.mean(np.abs(found - plain) < 2e-6)


@pytest.mark.parametrize(
    ("key", "near"),
    [
        pytest.param(1 + 2**-11, True, id="between two halves"),
        pytest.param(1 + 2**-10, False, id="a half", marks=pytest.mark.thorough),
    ],
)
def test_the_bound_has_what_rounding_may_decide_otherwise(key: float, near: bool) -> None:
    """Of a key between two halves either may be right; where none lies so, the bound is what it is without rounding."""
    module = Causal()
    with torch.no_grad():
        module.layer.weight.copy_(torch.eye(WIDTH).repeat(3, 1))
        module.layer.bias.zero_()
    frames = key * torch.randint(0, 2, (1, 4 * HORIZON, WIDTH)).float() * 2 - key
    case, found = Case("own", "own", {"frames": frames.numpy()}), []
    for kind in ("fp16", "float32"):
        declaration, called = streamed(module, kind)
        (truth,) = find_truths(Trial.of(declaration, Path(), called).source, [case])
        found += truth.bounds.values()
    bound, plain = found
    assert bound.judgeable and plain.judgeable
    assert (bound.allowed > 50 * plain.allowed) == near, (bound, plain)
    assert bound.allowed <= plain.allowed * 1.5 or near


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> temport.Exported:
    return temport.export(
        Causal(),
        GIVEN,
        axes=OPEN,
        ranges={"batch": 1, "seq": HORIZON},
        streaming=True,
        kv_dtype="fp16",
        runtimes=("onnxruntime_cpu", "onnxruntime_native", "op_reference", "openvino"),
        out=tmp_path_factory.mktemp("halves") / "b",
    )


def test_runtimes_agree_and_the_report_says_what_it_costs(made: temport.Exported) -> None:
    assert made.passed
    rows = {row.name: row for row in made.report.runtimes}
    assert {name for name, row in rows.items() if row.verdict == "pass"} == rows.keys() - {"openvino"}
    assert rows["openvino"].verdict == "not run" and "float16 in float32" in rows["openvino"].reason
    account = made.report.compression
    assert account is not None and (account.dtype, account.rings, account.weights) == ("float32", "fp16", ())
    assert 0 < max(loss.largest for loss in account.losses if loss.case in account.judged) < 1e-3
    declaration = json.loads((made.path / "manifest.json").read_text())["declaration"]
    assert declaration["kv_dtype"] == "fp16"
    assert run_verify(made.path)


def test_a_stream_whose_rows_come_late_fails(made: temport.Exported, tmp_path: Path) -> None:
    def late(model: onnx.ModelProto) -> None:
        (node,) = (n for n in model.graph.node if n.op_type == "CachedAttention")
        one = onnx.numpy_helper.from_array(np.array([[1]], np.int64), "one")
        model.graph.initializer.append(one)
        model.graph.node.insert(0, onnx.helper.make_node("Sub", [node.input[3], "one"], ["before"]))
        node.input[3] = "before"

    assert run_parity_of_bundle(made.path, ("onnxruntime_native",))
    assert not run_parity_of_bundle(spoil(made.path, late, tmp_path / "b"), ("onnxruntime_native",))


@pytest.mark.thorough
def test_weights_and_rings_are_one_account(tmp_path: Path) -> None:
    """What both lose together is bounded, also where the weights alone lose less."""
    wide = {"frames": torch.zeros(1, HORIZON, 24)}

    def export(**asked: object) -> temport.Exported:
        usual = {
            "streaming": True,
            "kv_dtype": "fp16",
            "weights_dtype": "fp16",
            "runtimes": ("op_reference",),
        }
        ranges = {"batch": 1, "seq": HORIZON}
        return temport.export(Causal(24), wide, axes=OPEN, ranges=ranges, out=tmp_path / "b", **usual | asked)

    both = export().report.compression
    assert both is not None and both.rings == "fp16" and {w.dtype for w in both.weights} == {"fp16"}
    lost = max(loss.largest for loss in both.losses if loss.case in both.judged)
    with pytest.raises(UserError, match=r"fp16 and the weights together lose .*, and --max-loss is"):
        export(max_loss=lost * 0.99)


class Loud(Causal):
    def heads(self, frames: Tensor) -> list[Tensor]:
        return [1e5 * x for x in super().heads(frames)]


class Sum(nn.Module):
    def forward(self, frames: Tensor) -> Tensor:
        return frames.cumsum(1)


REFUSED = [
    (Causal, {"kv_dtype": "int8"}, "--kv-dtype 'int8' is unknown; give fp16"),
    (Causal, {"streaming": False}, "what the rings of a stream hold; give --streaming too"),
    (Causal, {"window": HORIZON, "ranges": None}, "which --window computes anew"),
    (Causal, {"precision": "fp16"}, "this one computes in float16; give --precision fp32"),
    (Sum, {}, "finds no attention whose keys and values a ring keeps"),
    (Loud, {}, "keys or values reach beyond 65504 in case normal"),
]


@pytest.mark.parametrize(("module", "asked", "why"), REFUSED, ids=[why for _, _, why in REFUSED])
def test_what_is_refused(module: type[nn.Module], asked: dict[str, object], why: str, tmp_path: Path) -> None:
    usual = {"streaming": True, "kv_dtype": "fp16", "ranges": {"batch": 1, "seq": HORIZON}}
    with pytest.raises(UserError, match=why):
        temport.export(module(), GIVEN, axes=OPEN, out=tmp_path / "b", **usual | asked)
    assert not (tmp_path / "b").exists()


def test_a_target_that_would_not_hold_them_is_refused(made: temport.Exported) -> None:
    """Of an export and of a bundle that is there."""
    why = "--target tensorrt cannot hold keys and values in float16"
    with pytest.raises(UserError, match=why):
        declared_halves(
            Declaration("module", {}, (), ()), "fp16", streaming=True, window=None, target="tensorrt"
        )
    subject = Subject(open_bundle(made.path).declaration, made.path / "model.onnx")
    with pytest.raises(UserError, match=why):
        add_target("tensorrt", CompileOptions(), subject, "b", Progress(Terminal(quiet=True)))
