"""One head that reads the keys' source: the same numbers as projecting every key."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from float64_graphs import evaluate
from onnx import TensorProto, helper, numpy_helper

from temport.exporter.build import save
from temport.exporter.declare.architectures import declare
from temport.exporter.graph.attention import Attention
from temport.exporter.graph.projection import Projection
from temport.exporter.parity.cases import default_cases
from temport.exporter.parity.run import run_parity
from temport.exporter.passes import absorb_keys as subject
from temport.exporter.passes.absorb_keys import absorb_keys
from temport.exporter.passes.spell_dense import spell_dense
from temport.exporter.runtimes import runtime_named
from temport.exporter.runtimes.subject import Subject
from tests.small_models import SMALL as SMALL_MODELS
from tests.traces import build

FLOAT = TensorProto.DOUBLE
"""With weights in float64 the rewrite rounds nothing, and the two graphs agree to the last digits."""


def attention_model(
    T: int | str,
    C: int,
    D: int,
    *,
    Dv: int | None = None,
    packed: bool = False,
    bias: bool = True,
    heads: int = 1,
    memory: tuple[int, int] | None = None,
    mask: bool = False,
    shared: str = "",
    **rule: float,
) -> ir.Model:
    """x `[B,T,C]` -> dense Q, K, V or packed QKV -> one attention node -> y.

    memory  length and width of another source of K and V, the input z; left out: x
    shared  what is an output too: q, k, x or qkv
    """
    random = np.random.default_rng(7)
    constants, nodes, Dv = {}, [], D if Dv is None else Dv
    S, Cz = (T, C) if memory is None else memory
    source = "x" if memory is None else "z"

    def dense(data: str, name: str, shape: tuple[int, int]) -> str:
        constants[f"{name}_w"] = random.standard_normal(shape) / shape[0] ** 0.5
        nodes.append(helper.make_node("MatMul", [data, f"{name}_w"], [f"{name}_p" if bias else name]))
        if bias:
            constants[f"{name}_b"] = random.standard_normal(shape[1])
            nodes.append(helper.make_node("Add", [f"{name}_b", f"{name}_p"], [name]))
        return name

    if packed:
        inputs = [dense("x", "qkv", (C, 3 * heads * D)), "", ""]
    else:
        widths = {"q": heads * D, "k": heads * D, "v": heads * Dv}
        inputs = [
            dense("x" if n == "q" else source, n, (C if n == "q" else Cz, width))
            for n, width in widths.items()
        ]
    if mask:
        inputs.append("m")
    attributes = dict(causal=0, window=0, query_offset=-1) | rule
    nodes.append(
        helper.make_node(
            "OnlineSoftmaxAttention",
            inputs if any(inputs[1:]) else inputs[:1],
            ["y"],
            domain="temport",
            num_heads=heads,
            kv_num_heads=heads,
            **attributes,
        )
    )
    value = helper.make_tensor_value_info
    given = [value("x", FLOAT, ["batch", T, C])]
    if memory is not None:
        given.append(value("z", FLOAT, ["batch", S, Cz]))
    if mask:
        given.append(value("m", TensorProto.BOOL, ["batch", S]))
    outputs = [value("y", FLOAT, ["batch", T, heads * Dv])]
    if shared:
        outputs.append(value(shared, FLOAT, None))
    graph = helper.make_graph(
        nodes, "g", given, outputs, [numpy_helper.from_array(a, name) for name, a in constants.items()]
    )
    imports = [helper.make_opsetid("", 20), helper.make_opsetid("temport", 1)]
    proto = helper.make_model(graph, opset_imports=imports, ir_version=10)
    model = ir.from_proto(onnx.shape_inference.infer_shapes(proto))
    spell_dense(model)
    return model


def inputs_of(model: ir.Model, length: int = 13) -> dict[str, np.ndarray]:
    """Normal data for 3 sequences, keys hidden at random, and one sequence that shows none."""
    random, arrays = np.random.default_rng(1), {}
    for value in model.graph.inputs:
        shape = [3, *(size if isinstance(size, int) else length for size in list(value.shape)[1:])]
        arrays[value.name] = random.standard_normal(shape)
        if value.dtype == ir.DataType.BOOL:
            arrays[value.name] = arrays[value.name] > 0
            arrays[value.name][1] = False
    return arrays


CASES = [
    dict(T=9, C=6, D=6, packed=True, causal=1, scale=0.25),
    dict(T=31, C=5, D=5, packed=True, window=4),
    dict(T="seq", C=7, D=7, packed=True, causal=1, bias=False),
    dict(T="seq", C=3, D=3, Dv=5, window=6, scale=0.25),
    dict(T=1, C=6, D=6, mask=True),
    dict(T=17, C=8, D=8, Dv=11, causal=1),
    dict(T=17, C=6, D=6, packed=True, mask=True, causal=1),
    dict(T=7, C=6, D=4, memory=(19, 4), Dv=3, mask=True),
    dict(T=5, C=6, D=5, memory=(11, 5), query_offset=2, window=3),
]


def name_of(case: dict) -> str:
    return "-".join(f"{key}{value}" for key, value in case.items()).replace(" ", "")


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_same_function_and_no_keys(case: dict) -> None:
    """Also for rows that see no key."""
    model = attention_model(**case)
    inputs = inputs_of(model)
    truth = evaluate(model, inputs)
    before = sum(node.op_type == "MatMul" for node in model.graph)
    assert absorb_keys(model)
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    node = next(n for n in model.graph if n.op_type == "OnlineSoftmaxAttention")
    assert node.inputs[1] is model.graph.inputs[1 if case.get("memory") else 0]
    assert sum(n.op_type == "MatMul" for n in model.graph) == (2 if case.get("packed") else before - 1)
    assert np.abs(evaluate(model, inputs) - truth).max() <= 1e-13 * np.abs(truth).max()
    assert not absorb_keys(model)


@pytest.mark.parametrize(
    ("case", "why"),
    [
        (dict(T=9, C=6, D=6, heads=2, packed=True), "two heads"),
        (dict(T=9, C=6, D=6, shared="k"), "the keys are needed elsewhere"),
        (dict(T=9, C=6, D=6, shared="q"), "the queries are needed elsewhere"),
        (dict(T=9, C=6, D=6, shared="qkv", packed=True), "packed QKV is needed elsewhere"),
        (dict(T=9, C=7, D=6, packed=True), "the keys would get wider"),
        (dict(T=9, C=5, D=6, packed=True), "the keys would get narrower than the values"),
    ],
    ids=lambda value: value.replace(" ", "_") if isinstance(value, str) else "",
)
def test_left_alone(case: dict, why: str) -> None:
    model = attention_model(**case)
    before = ir.to_proto(model).SerializeToString()
    assert not absorb_keys(model), why
    assert ir.to_proto(model).SerializeToString() == before


def test_a_bias_that_is_spread_is_no_layers_bias() -> None:
    model = attention_model(T=9, C=6, D=6)
    bias = model.graph.initializers["k_b"]
    bias.const_value, bias.shape = ir.tensor(np.ones(1), name="k_b"), ir.Shape([1])
    assert not absorb_keys(model)


SMALL = ("embed_dim=6", "hidden_size=16", "num_layers=2", "ema_dim=3")


@pytest.mark.parametrize("seq", ["23", pytest.param("1:23:61", marks=pytest.mark.thorough)])
def test_mega_has_one_product_less_in_every_block(seq: str) -> None:
    declaration, module, _ = declare("mega", SMALL, seq=seq)
    built = build(module, replace(declaration, without=("prune",)))
    attention = [n for n in built.model.graph if n.op_type == "OnlineSoftmaxAttention"]
    assert len(attention) == 2 and not any(Attention.of(n).packed for n in attention)
    saved = sum(built.flops["traced"].values()) - sum(built.flops["exported"].values())
    assert saved == 2 * 2 * 23 * 16 * 16


def test_step_models_keep_their_keys() -> None:
    declaration, module = SMALL_MODELS["mega-softmax"].declare_stream(batch="1:2:5", seq="9")
    built = build(module, declaration)
    assert [step.changed for step in built.passes if step.name == "absorb_keys"] == [False]


def test_parity_sees_a_wrong_product(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The gate of an export fails when the keys' weights enter without their transpose."""
    declaration, module, _ = declare("mega", SMALL, seq="23")

    def verdict() -> str:
        save(build(module, declaration), tmp_path / "model.onnx", False)
        model = Subject(declaration, tmp_path / "model.onnx", module)
        return run_parity(model, default_cases(declaration), [runtime_named("onnxruntime_cpu")]).verdict

    assert verdict() == "pass"
    right = subject.through
    monkeypatch.setattr(
        subject,
        "through",
        lambda a, b: right(a, Projection(b.data, np.ascontiguousarray(b.weight.T), b.bias)),
    )
    assert verdict() == "fail"
