"""Queries and keys of one head in fewer bits: one weight is rounded in place of two, and the model gives the same."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

import temport
from temport.exporter.compress import absorbed_keys
from temport.exporter.compress.absorbed_keys import with_absorbed_keys
from temport.exporter.compress.sums import sums
from temport.exporter.declare.declaration import Declaration, TensorSpec
from temport.exporter.graph.quantised import found_again, quantised
from temport.exporter.report.compression import told
from temport.exporter.runtimes.subject import Subject

WIDTH, TOKENS = 32, 7


class OneHead(nn.Module):
    """Attention of one head as users write it.

    attend  of the layers, x and what follows it
    """

    def __init__(
        self, attend: Callable[[OneHead, Tensor], Any], packed: bool = False, bias: bool = True
    ) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.attend = attend
        if packed:
            self.qkv = nn.Linear(WIDTH, 3 * WIDTH, bias)
        else:
            self.q, self.k, self.v = (nn.Linear(WIDTH, WIDTH, bias) for _ in range(3))
        self.out = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Any:
        return self.attend(self, x)


def packed(m: OneHead, x: Tensor) -> Tensor:
    q, k, v = m.qkv(x).chunk(3, -1)
    return m.out(scaled_dot_product_attention(q, k, v))


def written_out(m: OneHead, x: Tensor) -> Tensor:
    scores = (m.q(x) @ m.k(x).transpose(-2, -1) / WIDTH**0.5).softmax(-1)
    return m.out(scores @ m.v(x))


def last_row(m: OneHead, x: Tensor) -> Tensor:
    return written_out(m, x)[:, -1]


def two_heads(m: OneHead, x: Tensor) -> Tensor:
    q, k, v = (layer(x).unflatten(-1, (2, -1)).transpose(1, 2) for layer in (m.q, m.k, m.v))
    return m.out(scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


def keys_given_out(m: OneHead, x: Tensor) -> tuple[Tensor, Tensor]:
    return written_out(m, x), m.k(x)


def keys_used_again(m: OneHead, x: Tensor) -> Tensor:
    return written_out(m, x) + m.k(x + 1)


def one_layer_for_both(m: OneHead, x: Tensor) -> Tensor:
    return m.out(scaled_dot_product_attention(m.q(x), m.q(x), m.v(x)))


def turned_keys(m: OneHead, x: Tensor) -> Tensor:
    turn = torch.arange(TOKENS)[:, None].cos()
    return m.out(scaled_dot_product_attention(m.q(x) * turn, m.k(x) * turn, m.v(x)))


def absorbed(module: nn.Module, **declared: Any) -> tuple[nn.Module, tuple[str, ...]]:
    inputs = {"x": np.random.default_rng(0).standard_normal((1, TOKENS, WIDTH)).astype(np.float32)}
    spec = TensorSpec("x", "float32", (1, TOKENS, WIDTH))
    with torch.no_grad():
        given = module(torch.from_numpy(inputs["x"]))
    outputs = tuple(
        TensorSpec(f"y{place}", "float32", tuple(tensor.shape))
        for place, tensor in enumerate(given if isinstance(given, tuple) else (given,))
    )
    declaration = Declaration("module", {}, (spec,), outputs, weights_dtype="int8", **declared)
    axes = sums(Subject(declaration, None, module), inputs)
    return with_absorbed_keys(module, declaration, axes, inputs)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("attend", [packed, written_out, last_row])
def test_the_model_gives_the_same_and_its_keys_are_the_source(
    attend: Callable[[OneHead, Tensor], Any], bias: bool
) -> None:
    module = OneHead(attend, attend is packed, bias).eval()
    before = copy.deepcopy(module.state_dict())
    made, names = absorbed(module)
    assert names == ("qkv.weight" if attend is packed else "k.weight",)
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    weight = made.get_parameter(names[0])
    keys = weight[WIDTH : 2 * WIDTH] if attend is packed else weight
    assert torch.equal(keys, torch.eye(WIDTH))
    x = torch.randn(4, TOKENS, WIDTH, dtype=torch.float64)
    assert torch.allclose(made.double()(x), module.double()(x), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "attend", [two_heads, keys_given_out, keys_used_again, one_layer_for_both, turned_keys]
)
def test_what_has_other_uses_stays(attend: Callable[[OneHead, Tensor], Any]) -> None:
    module = OneHead(attend).eval()
    assert absorbed(module) == (module, ())


def test_it_stays_where_the_pass_does_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    module = OneHead(written_out).eval()
    assert absorbed(module, without=("absorb_keys",)) == (module, ())
    # and where the product is not what it has to be
    right = absorbed_keys.as_one
    monkeypatch.setattr(absorbed_keys, "as_one", lambda queries, keys: right(keys, queries))
    assert absorbed(module) == (module, ())


@pytest.mark.parametrize("kind", ["int8", "int4", "fp8", "fp16"])
def test_the_identity_is_held_as_it_is(kind: str) -> None:
    identity = np.eye(48, dtype=np.float32)
    weight = np.concatenate([np.random.default_rng(0).standard_normal((48, 48)).astype(np.float32), identity])
    stored = quantised(weight, 1, kind)
    assert np.array_equal(stored[48:], identity)
    for some in (stored, stored[48:]):
        found = found_again(some, [1], kind)
        assert found is not None and np.array_equal(found.numbers(), some)


@pytest.mark.parametrize("kind", ["int8", "int4"])
def test_the_file_holds_one_weight_of_the_two(kind: str, tmp_path: Path) -> None:
    done = temport.export(
        OneHead(packed, True).eval(),
        {"x": torch.randn(2, TOKENS, WIDTH)},
        weights_dtype=kind,
        out=tmp_path / kind,
        runtimes=("onnxruntime_cpu", "onnxruntime_native", "onnx_reference"),
    )
    account = done.report.compression
    assert done.passed and account is not None and account.absorbed == ("qkv.weight",)
    assert "1 times queries and keys of one weight" in told(account)
    assert 0 < account.losses[0].largest < 0.3
    held = onnx.load(done.path / "model.onnx").graph.initializer
    numbers = {onnx.TensorProto.INT8: 0, onnx.TensorProto.INT4: 0, onnx.TensorProto.FLOAT: 0}
    for tensor in held:
        if tensor.data_type in numbers:
            numbers[tensor.data_type] += int(np.prod(tensor.dims))
    stored = onnx.TensorProto.INT8 if kind == "int8" else onnx.TensorProto.INT4
    assert numbers[stored] == 3 * WIDTH * WIDTH  # queries for the source, values, the output
    assert numbers[onnx.TensorProto.FLOAT] < WIDTH * WIDTH
