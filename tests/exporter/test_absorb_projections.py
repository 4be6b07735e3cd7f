"""Attention of one query over the keys' source: the same numbers as projecting every key and value."""

from collections.abc import Sequence

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from float64_graphs import evaluate
from onnx import TensorProto, helper, numpy_helper

from temport.custom_ops.table import OPS
from temport.exporter.declare.architectures import declare
from temport.exporter.passes import absorb_projections as subject
from temport.exporter.passes.absorb_projections import absorb_projections
from temport.exporter.passes.attach_bodies import attach_bodies
from temport.exporter.passes.prune import prune
from temport.exporter.passes.single_block import as_softmax_attention, is_single_block
from tests.traces import build

C = 6
EPS = float(np.finfo(np.float32).eps)


def attention_model(
    S: int, heads: int, groups: int, D: int, Dv: int, *, bias=True, layered=False, mask=False, T=1, **rule
) -> ir.Model:
    """x `[B,S,C]` -> (dense) -> K, V; the last T rows -> Q; one attention node; output `[B,T,H*Dv]`."""
    random = np.random.default_rng(7)
    constants, nodes = {}, []

    def dense(data: str, name: str, columns: int) -> str:
        constants[f"{name}_w"] = random.standard_normal((C, columns)).astype(np.float32)
        nodes.append(helper.make_node("MatMul", [data, f"{name}_w"], [f"{name}_p"]))
        if not bias:
            return f"{name}_p"
        constants[f"{name}_b"] = random.standard_normal(columns).astype(np.float32)
        nodes.append(helper.make_node("Add", [f"{name}_p", f"{name}_b"], [name]))
        return name

    source = dense("x", "inner", C) if layered else "x"
    constants |= {"from": np.array([-T]), "to": np.array([2**62]), "axis": np.array([1])}
    nodes.append(helper.make_node("Slice", [source, "from", "to", "axis"], ["last"]))
    q = dense("last", "q", heads * D)
    k, v = dense(source, "k", groups * D), dense(source, "v", groups * Dv)
    attributes = dict(causal=1, window=0, query_offset=-1, scale=0.5) | rule
    inputs = [q, k, v, "m"] if mask else [q, k, v]
    nodes.append(
        helper.make_node(
            "OnlineSoftmaxAttention",
            inputs,
            ["y"],
            domain="temport",
            num_heads=heads,
            kv_num_heads=groups,
            **attributes,
        )
    )
    given = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", S, C])]
    if mask:
        given.append(helper.make_tensor_value_info("m", TensorProto.BOOL, ["batch", S]))
    graph = helper.make_graph(
        nodes,
        "g",
        given,
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", T, heads * Dv])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    imports = [helper.make_opsetid("", 20), helper.make_opsetid("temport", 1)]
    proto = helper.make_model(graph, opset_imports=imports, ir_version=10)
    return ir.from_proto(onnx.shape_inference.infer_shapes(proto))


CASES = [
    dict(S=9, heads=1, groups=1, D=6, Dv=6),
    dict(S=9, heads=1, groups=1, D=2, Dv=6, bias=False),
    dict(S=30, heads=4, groups=2, D=5, Dv=3),
    dict(S=40, heads=3, groups=3, D=4, Dv=7, bias=False),
    dict(S=33, heads=2, groups=1, D=4, Dv=4, layered=True),
    dict(S=33, heads=2, groups=2, D=4, Dv=4, layered=True, window=5),
    dict(S=25, heads=2, groups=2, D=4, Dv=4, query_offset=3),
]


def name_of(case: dict) -> str:
    return "-".join(f"{key}{value}" for key, value in case.items())


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_same_function_in_float64(case: dict) -> None:
    """The rewritten graph is the same function up to the one rounding of multiplied weights."""
    model = attention_model(**case)
    x = np.random.default_rng(1).standard_normal((3, case["S"], C))
    truth = evaluate(model, {"x": x})
    assert absorb_projections(model)
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    error = np.abs(evaluate(model, {"x": x}) - truth).max()
    assert error <= (32 * EPS if case.get("layered") or case["heads"] == 1 else 1e-13) * np.abs(truth).max()
    assert model.graph.outputs[0].name == "y"


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_rows_of_keys_and_values_are_gone(case: dict) -> None:
    model = attention_model(**case)
    absorb_projections(model)
    rows = [
        n.outputs[0].shape[1] for n in model.graph if n.op_type == "MatMul" and len(n.outputs[0].shape) == 3
    ]
    assert set(rows) == {1}


@pytest.mark.parametrize("read_twice", [False, True])
@pytest.mark.parametrize(("D", "products"), [(2, 3), (3, 2), (6, 2)])
def test_one_head_takes_the_layer_of_its_query_where_that_is_less(
    D: int, products: int, read_twice: bool
) -> None:
    """Two products of C*D against one of C*C; a query that somebody else reads is made in any case."""
    model = attention_model(S=40, heads=1, groups=1, D=D, Dv=6)
    if read_twice:
        query = next(node for node in model.graph if node.op_type.startswith("Online")).inputs[0]
        model.graph.outputs.append(query)
    x = np.random.default_rng(1).standard_normal((2, 40, C))
    truth = evaluate(model, {"x": x})
    assert absorb_projections(model)
    assert [n.op_type for n in model.graph].count("MatMul") == (3 if read_twice else products)
    np.testing.assert_allclose(evaluate(model, {"x": x}), truth, rtol=0, atol=32 * EPS * np.abs(truth).max())


@pytest.mark.parametrize(
    ("case", "why"),
    [
        (dict(S=30, heads=2, groups=2, D=4, Dv=4, mask=True), "a masked row may be empty: 0, not the bias"),
        (dict(S=30, heads=2, groups=2, D=4, Dv=4, T=2), "two queries"),
        (dict(S=1, heads=2, groups=2, D=4, Dv=4), "one key costs less projected"),
        (dict(S=3, heads=2, groups=2, D=4, Dv=4, window=2, query_offset=6), "the row sees no key"),
    ],
    ids=lambda value: value.replace(" ", "_") if isinstance(value, str) else "",
)
def test_left_alone(case: dict, why: str) -> None:
    model = attention_model(**case)
    before = [node.op_type for node in model.graph]
    assert not absorb_projections(model), why
    assert [node.op_type for node in model.graph] == before


def test_swapped_value_heads_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The float64 comparison fails when a head reads another group's weights."""
    right = subject._by_head
    monkeypatch.setattr(subject, "_by_head", lambda *args: right(*args)[::-1])
    case = next(case for case in CASES if case["groups"] == 2)
    model = attention_model(**case)
    x = np.random.default_rng(1).standard_normal((2, case["S"], C))
    truth = evaluate(model, {"x": x})
    absorb_projections(model)
    assert np.abs(evaluate(model, {"x": x}) - truth).max() > 1e-3 * np.abs(truth).max()


SMALL: Sequence[tuple[str, tuple[str, ...]]] = (
    ("sliding_window", ("embed_dim=6", "num_heads=2", "head_dim=8", "ffn_dim=12", "window_size=7")),
    ("hybrid", ("embed_dim=6", "lstm_hidden=8", "num_heads=2", "head_dim=4")),
    ("mega", ("embed_dim=6", "hidden_size=16", "num_layers=2", "ema_dim=3")),
    ("lightning", ("embed_dim=6", "hidden_size=16", "num_heads=2", "num_layers=2", "block_size=64")),
)


@pytest.mark.parametrize(("arch", "settings"), SMALL, ids=[name for name, _ in SMALL])
def test_models_project_no_row_of_the_last_block_but_one(arch: str, settings: tuple[str, ...]) -> None:
    declaration, module, _ = declare(arch, settings, seq="23")
    built = build(module, declaration)
    last = [n for n in built.model.graph if n.op_type == "OnlineSoftmaxAttention"][-1]
    assert last.inputs[1] is last.inputs[2] and last.attributes["kv_num_heads"].as_int() == 1
    assert sum(built.flops["exported"].values()) < 0.9 * sum(built.flops["traced"].values())


@pytest.mark.parametrize("length", [1, 7, 8])
def test_single_block_is_softmax_attention(length: int) -> None:
    attributes = dict(
        num_heads=2, block_size=8, scale=0.5, feature_map="identity", normalizer="key_sum", eps=1e-8
    )
    node = helper.make_node("BlockLinearAttention", ["x"], ["y"], domain="temport", **attributes)
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, length, 24])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, length, 8])],
    )
    imports = [helper.make_opsetid("", 20), helper.make_opsetid("temport", 1)]
    model = ir.from_proto(helper.make_model(graph, opset_imports=imports, ir_version=10))
    assert is_single_block(next(iter(model.graph)))
    x = np.random.default_rng(0).standard_normal((2, length, 24)).astype(np.float32)
    truth = OPS["BlockLinearAttention"].reference([x], attributes)
    as_softmax_attention(model.graph, next(iter(model.graph)))
    np.testing.assert_allclose(evaluate(model, {"x": x}), truth, rtol=0, atol=1e-14)
    assert not prune(model, {})
    declaration, _, _ = declare("lightning", ("embed_dim=6",), seq=str(length))
    attach_bodies(model, declaration)
    session = ort.InferenceSession(ir.to_proto(model).SerializeToString())
    error = np.abs(session.run(None, {"x": x})[0] - truth).max()
    assert error <= 32 * EPS * np.abs(truth).max()


def test_two_blocks_are_not_softmax_attention() -> None:
    declaration, module, _ = declare(
        "lightning", ("embed_dim=6", "block_size=8", "feature_map=elu1"), seq="9"
    )
    built = build(module, declaration)
    assert not any(n.op_type == "OnlineSoftmaxAttention" for n in built.model.graph)
