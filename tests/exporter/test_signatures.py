"""What a user's module takes and returns: every name, type and axis, and sentences for what cannot be."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from temport.exporter.declare.declaration import Declaration
from temport.exporter.declare.live import input_specs
from temport.exporter.declare.modules import declare_factory
from temport.exporter.errors import UserError
from temport.exporter.trace.trace import trace

Pair = namedtuple("Pair", "mean std")


@dataclass
class Out:
    policy: Tensor
    hidden: list


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)


class Nested(Base):
    def forward(self, x):
        y = self.layer(x)
        return {
            "action": y.argmax(-1),
            "dist": Pair(y, y.exp()),
            "rest": Out(y, [y + 1, None, (y, y)]),
            "none": None,
        }


class Cuts(Base):
    def forward(self, x, past):
        y = self.layer(x)
        return y[:, ::2], torch.cat([past, x[:, :1]], 1), y.reshape(-1, 2), y[:, :, :1], y.mean(1)


class TwoNames(Base):
    def forward(self, keys, values, scale=2.0):
        return self.layer(keys) - scale * self.layer(values)


class Entries(Base):
    def forward(self, observation, goal=None):
        y = self.layer(observation["left"]) + self.layer(observation["more"][0])
        return y if goal is None else y + goal


class Pieces(NamedTuple):
    left: tuple[Tensor, ...]
    right: tuple[Tensor, ...]


class Structures(Base):
    """Takes what its annotations say and nothing else."""

    def forward(self, states: Pieces | None, out: Out, pair: tuple[Tensor, Tensor]):
        assert isinstance(states.left, tuple) and isinstance(out.hidden, list) and isinstance(pair, tuple)
        return {"y": self.layer(states.left[1]), "states": states, "policy": out.policy}


class Random(Base):
    def forward(self, x):
        return self.layer(x) + torch.randn_like(x[..., :2])


class Counts(Base):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return self.layer(x) * self.calls


class CountsAside(Counts):
    def forward(self, x):
        self.calls += 1
        return self.layer(x)


class Half(Base):
    def __init__(self) -> None:
        super().__init__()
        self.half()

    def forward(self, x):
        return self.layer(x)


class Steps(Base):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(7, 3)

    def forward(self, ids):
        return self.layer(self.table(ids))


class Longest(Base):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", torch.zeros(70, 3))

    def forward(self, x):
        return self.layer(x + self.table[: x.shape[1]])


class Text(Base):
    def forward(self, x):
        return {
            "y": self.layer(x),
            "mode": "walk",
            "info": {"frames": x.shape[1], "noise": torch.rand_like(x)},
        }


def declared(module: type[nn.Module], *shapes: str, **asked) -> Declaration:
    return declare_factory(module, "own.py:make", shapes, **{"batch": "dynamic", "seq": "dynamic"} | asked)[0]


def axes(declaration: Declaration) -> dict[str, list]:
    return {spec.name: spec.onnx_shape() for spec in declaration.outputs}


def test_nested_results_are_named_by_keys_and_fields() -> None:
    found = declared(Nested, "x=batch,seq,3")
    assert axes(found) == {
        "action": ["batch", "seq"],
        **{f"dist.{name}": ["batch", "seq", 2] for name in ("mean", "std")},
        **{
            f"rest.{name}": ["batch", "seq", 2] for name in ("policy", "hidden.0", "hidden.2.0", "hidden.2.1")
        },
    }
    assert [spec.dtype for spec in found.outputs][:2] == ["int64", "float32"]
    assert axes(declared(Nested, "x=batch,seq,3", dropped=["action"], names=list("abcdef"))).keys() == set(
        "abcdef"
    )


def test_axes_that_are_computed_are_expressions() -> None:
    declaration, module = declare_factory(
        Cuts,
        "own.py:make",
        ("x=batch,seq,3", "past=batch,past,3"),
        "dynamic",
        "dynamic",
        axes={"past": "0:2:9"},
    )
    outputs = trace(module, declaration).outputs
    assert [spec.onnx_shape() for spec in outputs] == [
        ["batch", "(seq + 1) // 2", 2],
        ["batch", "past + 1", 3],
        ["batch * seq", 2],
        ["batch", "seq", 1],
        ["batch", 2],
    ]
    assert outputs[0].at(batch=2, seq=7) == (2, 4, 2) and outputs[1].at(batch=1, past=0) == (1, 1, 3)
    assert (outputs[0].axes()[1].min, outputs[0].axes()[1].max) == (1, 512)


def test_axes_at_a_fixed_length_are_its_numbers() -> None:
    found = declared(Cuts, "x=batch,seq,3", "past=batch,past,3", seq="60", batch="1", axes={"past": "5"})
    assert [spec.at() for spec in found.outputs] == [(1, 30, 2), (1, 6, 3), (60, 2), (1, 60, 1), (1, 2)]


@pytest.mark.parametrize("order", [("keys", "values"), ("values", "keys")])
def test_inputs_go_to_the_parameters_of_their_names(order: tuple[str, str]) -> None:
    _, module = declare_factory(TwoNames, "own.py:make", [f"{name}=batch,seq,3" for name in order])
    x, y = torch.randn(1, 4, 3), torch.randn(1, 4, 3)
    given = {"keys": x, "values": y}
    (result,) = module(*(given[name] for name in order))
    assert torch.equal(result, module.model(x, y))


def test_names_of_no_parameter_are_given_in_order_and_told() -> None:
    found = declared(TwoNames, "a=batch,seq,3", "b=batch,seq,3")
    assert found.notes == ("forward takes the inputs in their order: a is keys, b is values",)


def test_entries_of_a_dictionary() -> None:
    shapes = ("observation.left=batch,3", "observation.more.0=batch,3")
    assert axes(declared(Entries, *shapes)) == {"output": ["batch", 2]}
    assert axes(declared(Entries, *shapes, "goal=batch,2")) == {"output": ["batch", 2]}
    assert axes(declared(Entries, "left=batch,3", "more.0=batch,3")) == {"output": ["batch", 2]}


def test_structures_are_made_as_forward_annotates_them() -> None:
    x = torch.zeros(2, 3)
    example = {"states": Pieces((x, x), (x,)), "out": Out(x, [x, None]), "pair": (x, x)}
    specs = input_specs(Structures(), example, {"states.left.1": {0: "batch"}})
    names = [
        "states.left.0",
        "states.left.1",
        "states.right.0",
        "out.policy",
        "out.hidden.0",
        "pair.0",
        "pair.1",
    ]
    assert [spec.name for spec in specs] == names
    found = axes(declared(Structures, *(f"{name}=batch,3" for name in names)))
    outputs = ["states.left.0_out", "states.left.1_out", "states.right.0_out", "policy"]
    assert found == {"y": ["batch", 2], **{name: ["batch", 3] for name in outputs}}


def test_a_buffer_that_changes_beside_the_result_is_told() -> None:
    (note,) = declared(CountsAside, "x=batch,seq,3").notes
    assert note == "forward changes its buffer calls, which the exported graph does not do"


def test_a_half_precision_module_is_widened_and_its_type_kept() -> None:
    declaration, module = declare_factory(Half, "own.py:make", ["x=batch,seq,3"])
    assert declaration.precision == "float16" and "weights are float16" in declaration.notes[0]
    assert next(module.parameters()).dtype == torch.float32


def test_integers_need_a_range_and_keep_it() -> None:
    (spec,) = declared(Steps, "ids:int64[0:7]=batch,seq").inputs
    assert (spec.values.low, spec.values.high) == ("0", "7")
    assert Declaration.from_json(declared(Steps, "ids:int64[0:7]=batch,seq").to_json()).inputs == (spec,)


def test_examples_of_a_live_module() -> None:
    ids = torch.tensor([[2, 5, 3]])
    specs = input_specs(Steps(), (ids,), {"ids": {0: "batch", -1: "seq"}}, {"seq": (1, 3, 9)})
    (spec,) = specs
    assert (spec.name, spec.dtype, spec.onnx_shape(), spec.at()) == ("ids", "int64", ["batch", "seq"], (1, 3))
    assert (spec.values.low, spec.values.high, spec.axes()[1].max) == ("2", "6", 9)


def test_what_is_dropped_may_be_anything() -> None:
    declaration = declared(Text, "x=batch,seq,3", dropped=["mode", "info"])
    assert axes(declaration) == {"y": ["batch", "seq", 2]}


@pytest.mark.parametrize(
    ("module", "shapes", "asked", "told"),
    [
        (
            Random,
            ["x=batch,seq,3"],
            {},
            r"the module is random: .* by aten.randn_like \(.*line \d+: return .*mean",
        ),
        (Counts, ["x=batch,seq,3"], {}, "changes its buffer calls with every call"),
        (Text, ["x=batch,seq,3"], {}, "returns str at mode; outputs have to be tensors.*--drop-output"),
        (
            Longest,
            ["x=batch,seq,3"],
            {},
            r"does not run with batch 1, seq 1024, though it does with batch 8, seq 60: .*--seq 8:60:200",
        ),
        (
            Longest,
            ["x=batch,seq,3"],
            {"seq": "80"},
            r"does not run with batch 8, seq 80: .*\(.*line \d+: return self.layer",
        ),
        (TwoNames, ["keys=batch,seq,3"], {}, "forward of TwoNames also needs values; give each with --shape"),
        (
            TwoNames,
            ["keys=batch,seq,3", "valus=batch,seq,3"],
            {},
            "no parameter 'valus'; did you mean values",
        ),
        (
            Structures,
            ["states.lft.0=3", "out.policy=3", "pair.0=3"],
            {},
            "Pieces has no field 'lft'; did you mean left",
        ),
        (Steps, ["ids:int64=batch,seq"], {}, r"give their range, as in ids:int64\[0:200\]=batch,seq"),
        (Steps, ["ids:int64[0:9]=batch,seq"], {}, "index out of range"),
        (
            Steps,
            ["ids:int46[0:9]=batch,seq"],
            {},
            "'int46' is no element type; did you mean int16|did you mean int64",
        ),
        (Steps, ["ids:int64[0-9]=batch,seq"], {}, "is no range of int64; give low:high"),
        (Steps, ["m:bool[some]=batch,seq"], {}, "a mask is prefix or ignore"),
        (Cuts, ["x=batch,seq,3", "past=batch,past,3"], {}, r"--axis past=1:60:1024"),
        (Cuts, ["x=batch,seq,3", "x=batch,seq,3"], {}, "two inputs are called x"),
        (
            Nested,
            ["x=batch,seq,3"],
            {"dropped": ["actoin"]},
            "no output 'actoin' to drop; did you mean action",
        ),
        (Nested, ["x=batch,seq,3"], {"names": ["a", "b"]}, "the module has 7 outputs"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_a_sentence_for_what_cannot_be(module, shapes, asked, told) -> None:
    with pytest.raises(UserError, match=told):
        declared(module, *shapes, **asked)
