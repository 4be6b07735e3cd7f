"""Every op in torch's terms: its definition, its schema, and what it refuses, over the cases of its table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from case import Case, OpCases, Refusal, error, largest
from cases import TABLES
from hypothesis import HealthCheck, given, settings
from one_node import NODE, body_of, model, native, open_shapes
from onnx import TensorProto, shape_inference

from temport import custom_ops
from temport.custom_ops.schema import DOMAIN, VERSION
from temport.custom_ops.table import FOLDERS

OPS = pytest.mark.parametrize("op", TABLES)
CASES = [(op, case) for op, table in TABLES.items() for case in table.cases]
REFUSED = [
    (op, refusal, who, sentence)
    for op, table in TABLES.items()
    for refusal in table.refused
    for many, sentence in refusal.says.items()
    for who in many.split()
]


def compare(table: OpCases, case: Case) -> None:
    exact = case.rounded("float64")
    truths, peers = table.truth(exact), table.of_torch(exact, "float64")
    for name, truth in truths.items():
        assert truth.dtype == np.float64 and peers[name].shape == truth.shape
        assert error(peers[name].numpy(), truth) <= 1e-9 * max(1e-3, largest(truth)), name


@pytest.mark.parametrize(("op", "case"), CASES, ids=str)
def test_the_reference_is_what_torch_computes_in_double(op: str, case: Case) -> None:
    compare(TABLES[op], case)


@OPS
def test_the_reference_anywhere(op: str) -> None:
    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(case=TABLES[op].anywhere)
    def check(case: Case) -> None:
        compare(TABLES[op], case)

    check()


def test_every_folder_with_a_schema_is_an_op() -> None:
    """One that `table.py` does not name would be known to nobody."""
    found = Path(custom_ops.__path__[0]).glob("*/schema.py")
    assert {path.parent.name for path in found} == set(FOLDERS)


@OPS
def test_registered_with_onnx(op: str) -> None:
    schema = onnx.defs.get_schema(op, VERSION, DOMAIN)
    own = TABLES[op].op
    assert schema.doc == own.schema.doc and schema.has_type_and_shape_inference_function
    assert (own.name, own.domain, own.version) == (op, DOMAIN, VERSION)


OF_VERSION_1 = {
    "OnlineSoftmaxAttention": {"causal", "kv_num_heads", "num_heads", "query_offset", "scale", "window"},
    "BlockLinearAttention": {"block_size", "eps", "feature_map", "normalizer", "num_heads", "scale"},
    "CachedAttention": {"num_heads", "scale"},
    "CachedBlockLinearAttention": {"eps", "feature_map", "normalizer", "num_heads"},
    "FusedDense": {"activation", "groups"},
    "FusedGRU": {"hidden_size"},
    "FusedLSTM": {"hidden_size"},
    "MovingAverage": {"channels", "taps"},
    "ResidualLayerNorm": {"centred", "epsilon"},
}


def test_attributes_are_those_of_the_version() -> None:
    """A library knows a later attribute by the version alone (CONTRIBUTING.md, "An attribute more")."""
    assert VERSION == 1
    assert {op: set(table.op.schema.attributes) for op, table in TABLES.items()} == OF_VERSION_1


def inferred(proto: onnx.ModelProto) -> dict[str, Any]:
    found = shape_inference.infer_shapes(proto, check_type=True, strict_mode=True).graph.output
    return {o.name: [d.dim_value or d.dim_param for d in o.type.tensor_type.shape.dim] for o in found}


@pytest.mark.parametrize(("op", "case"), [(op, case) for op, case in CASES if case.forms], ids=str)
def test_shapes_are_inferred(op: str, case: Case) -> None:
    """Of static sizes the very ones; of named ones the names where a size is an input's."""
    table = TABLES[op]
    if any(not x.ndim or 0 in x.shape for x in case.inputs.values()):
        return  # onnx writes no axis as an unknown one, and an empty one as none
    truths = table.truth(case)
    proto = model(table, case)
    onnx.checker.check_model(shape_inference.infer_shapes(proto), full_check=True)
    assert inferred(proto) == {name: list(x.shape) for name, x in truths.items()}
    for name, shape in inferred(model(table, case, shapes=open_shapes(table, case))).items():
        assert len(shape) == truths[name].ndim
        for named, size in zip(shape, truths[name].shape, strict=True):
            assert isinstance(named, str) or named == size


@OPS
def test_the_type_is_that_of_the_first_input(op: str) -> None:
    table = TABLES[op]
    for kind in (TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE):
        proto = model(table, table.cases[0])
        for value in (*proto.graph.input, *proto.graph.output):
            if value.type.tensor_type.elem_type == TensorProto.FLOAT:
                value.type.tensor_type.elem_type = kind
        found = shape_inference.infer_shapes(proto, check_type=True, strict_mode=True).graph.output
        assert {o.type.tensor_type.elem_type for o in found} == {kind}


@OPS
def test_the_checker_refuses_other_attributes(op: str) -> None:
    table = TABLES[op]
    case = table.cases[0]
    wrong = [{**case.attributes, "windw": 3}, *({**case.attributes, name: [1.0]} for name in case.attributes)]
    for attributes in wrong:
        with pytest.raises(onnx.checker.ValidationError):
            onnx.checker.check_model(model(table, replace(case, attributes=attributes)))


def changed(table: OpCases, refusal: Refusal) -> tuple[Case, dict[str, Any]]:
    """The first case with the change, and shapes that are no numbers."""
    inputs, attributes = dict(table.cases[0].inputs), dict(table.cases[0].attributes)
    shapes = {}
    for name, value in refusal.change.items():
        if name not in table.inputs:
            attributes[name] = value
        elif value is None:
            del inputs[name]
        elif any(isinstance(size, str) for size in value):
            shapes[name] = value
        else:
            kind = inputs[name].dtype if name in inputs else bool if name.endswith("mask") else np.float32
            inputs[name] = np.zeros(value, kind)
    given_ = {name: inputs[name] for name in table.inputs if name in inputs}
    return Case(given_, {name: x for name, x in attributes.items() if x is not None}), shapes


@pytest.mark.parametrize(("op", "refusal", "who", "sentence"), REFUSED, ids=str)
def test_what_is_wrong_is_refused_in_one_sentence(op: str, refusal: Refusal, who: str, sentence: str) -> None:
    table = TABLES[op]
    case, shapes = changed(table, refusal)
    said = r"(?s)" + sentence
    if who == "native":
        with pytest.raises(Exception, match=said) as refused:
            native(table, case, constants=[], outputs=table.outputs)
        assert NODE in str(refused.value)
        return
    proto = model(table, case, shapes=shapes) if who in ("body", "inference") else None
    attempts = {
        "reference": lambda: table.op.reference(table.arrays(case), case.attributes),
        "torch": lambda: table.of_torch_op(case, "float32"),
        "body": lambda: body_of(table, proto),
        "inference": lambda: inferred(proto),
    }
    with pytest.raises(ValueError, match=said) as error_:
        attempts[who]()
    text = str(error_.value)
    assert op in text and (who == "inference" or (text.startswith(op) and text.endswith(".")))


@OPS
def test_a_refusal_that_is_not_one_is_seen(op: str) -> None:
    """The suite itself: what is right passes all that refuse."""
    table = TABLES[op]
    case, _ = changed(table, Refusal({}, {}))
    table.op.reference(table.arrays(case), case.attributes)
    body_of(table, model(table, case))
    inferred(model(table, case))
    native(table, case)
