"""The operator table against ONNX's own list and evaluator, and what becomes of an operator that it does not know."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from temport.custom_ops.table import OPS
from temport.exporter.declare.declaration import Axis, Declaration, TensorSpec
from temport.exporter.graph.elementwise import ELEMENTWISE
from temport.exporter.graph.layers import layer_of
from temport.exporter.graph.operator_row import Along, Half
from temport.exporter.graph.operators import OURS, STANDARD, known
from temport.exporter.passes.notes import Notes
from temport.exporter.passes.prune import prune
from tests.exporter.small_modules import MODULES, SEQ, WIDTH
from tests.traces import build

OPSET = 24
WITHOUT_ROW = (
    "AffineGrid Bernoulli BlackmanWindow CenterCropPad Col2Im Compress ConcatFromSequence ConvInteger DFT "
    "DeformConv Det Dropout DynamicQuantizeLinear EyeLike GlobalLpPool GridSample HammingWindow "
    "HannWindow ImageDecoder LRN LpPool MatMulInteger MaxRoiPool MaxUnpool MeanVarianceNormalization "
    "MelWeightMatrix Multinomial NegativeLogLikelihoodLoss NonMaxSuppression NonZero Optional OptionalGetElement "
    "OptionalHasElement QLinearConv QLinearMatMul RandomNormal RandomNormalLike RandomUniform "
    "RandomUniformLike RegexFullMatch Resize ReverseSequence RoiAlign RotaryEmbedding STFT SequenceAt "
    "SequenceConstruct SequenceEmpty SequenceErase SequenceInsert SequenceLength SequenceMap SoftmaxCrossEntropyLoss "
    "SplitToSequence StringConcat StringNormalizer StringSplit TensorScatter TfIdfVectorizer Unique"
)
"""Of which nothing is known; a pass that meets one says so."""


def test_every_operator_has_a_row_or_is_known_to_have_none() -> None:
    names = {
        schema.name
        for schema in onnx.defs.get_all_schemas_with_history()
        if schema.domain == "" and schema.since_version <= OPSET
    }
    current = {name for name in names if not onnx.defs.get_schema(name, OPSET).deprecated}
    assert current ^ STANDARD.keys() == set(WITHOUT_ROW.split())
    assert OURS.keys() == OPS.keys()


INTEGERS = {"BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor"}
LOGIC = {"And", "Not", "Or", "Xor"}
RANGES = {"Acosh": (1.1, 3), "Log": (0.1, 3), "Sqrt": (0, 3), "Acos": (-0.9, 0.9), "Asin": (-0.9, 0.9),
          "Atanh": (-0.9, 0.9), "Pow": (0.1, 3)}  # fmt: skip
ATTRIBUTES = {"BitShift": {"direction": "LEFT"}, "Cast": {"to": TensorProto.FLOAT16}, "Mod": {"fmod": 1}}


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_an_elementwise_operator_gives_the_last_rows_from_the_last_rows(name: str) -> None:
    """ONNX's evaluator on whole operands, one of them broadcast, and on the last two rows of them."""
    schema, random = onnx.defs.get_schema(name, OPSET), np.random.default_rng(len(name))
    count = min(3 if name in ("Where", "Clip") else 2, schema.max_input)
    shapes = [(3, 5, 4), (5, 1), (5, 4)][:count]
    if name == "Clip":
        shapes[1:] = [(), ()]

    def operand(index: int, shape: tuple[int, ...]) -> np.ndarray:
        if name in LOGIC or (name == "Where" and index == 0):
            return random.random(shape) < 0.5
        if name in INTEGERS:
            return random.integers(0, 8, shape).astype(np.uint32)
        lowest, highest = RANGES.get(name, (-3, 3))
        return random.uniform(lowest, highest, shape).astype(np.float32)

    arrays = [operand(i, shape) for i, shape in enumerate(shapes)]
    infos = [
        helper.make_tensor_value_info(f"x{i}", helper.np_dtype_to_tensor_dtype(a.dtype), [None] * a.ndim)
        for i, a in enumerate(arrays)
    ]
    node = helper.make_node(name, [info.name for info in infos], ["y"], **ATTRIBUTES.get(name, {}))
    graph = helper.make_graph([node], "g", infos, [onnx.ValueInfoProto(name="y")])
    evaluator = ReferenceEvaluator(helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)]))

    def last(array: np.ndarray) -> np.ndarray:
        return array if array.ndim < 2 else array[..., -2:, :]

    whole = evaluator.run(None, {f"x{i}": a for i, a in enumerate(arrays)})[0]
    assert whole.shape == (3, 5, 4)
    tail = evaluator.run(None, {f"x{i}": last(a) for i, a in enumerate(arrays)})[0]
    np.testing.assert_array_equal(tail, last(whole))


def test_half_precision_is_what_it_was() -> None:
    """The classes that the numbers of every half-precision model hang on."""
    by_half = {half: {n for n, op in {**STANDARD, **OURS}.items() if op.half is half} for half in Half}
    assert by_half[Half.SUMS] == {
        "Attention", "BlockLinearAttention", "Conv", "Gemm", "MatMul", "OnlineSoftmaxAttention",
    }  # fmt: skip
    assert by_half[Half.UNTYPED] == {"Cast", "IsInf", "IsNaN", "Shape", "Size"}
    follows = (
        "Abs Add Clip Concat Einsum Elu Expand Flatten Gather Gelu Identity Max Min Mul Neg Pad Relu Reshape Sigmoid "
        "Slice Split Squeeze Sub Tanh Tile Transpose Unsqueeze Where Ceil Floor LeakyRelu PRelu Sign"
    )
    assert by_half[Half.FOLLOWS] == set(follows.split())


def test_an_operator_that_moves_computes_nothing() -> None:
    """What moves takes any element type, numbers, text and truth values alike; what renames moves."""
    for name, operator in STANDARD.items():
        if operator.moves:
            constraints = onnx.defs.get_schema(name, OPSET).type_constraints
            kinds = set().union(*(c.allowed_type_strs for c in constraints))
            assert {"tensor(float)", "tensor(bool)", "tensor(string)"} <= kinds
        assert operator.moves or not operator.renames


def pruned(op: str, domain: str = "", **attributes: object) -> tuple[ir.Model, Notes]:
    """x `[1, 60, 4]` -> Mul -> the operator -> its last entry, pruned."""
    x, h, y, z = (
        ir.Value(name=n, type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(s))
        for n, s in (("x", [1, 60, 4]), ("h", [1, 60, 4]), ("y", [1, 60, 4]), ("z", [1, 4]))
    )
    last = ir.Value(name="i", const_value=ir.tensor(np.array(-1)), shape=ir.Shape([]))
    nodes = [
        ir.node("Mul", [x, x], outputs=[h], name="square"),
        ir.node(op, [h], attributes, domain=domain, outputs=[y], name="n"),
        ir.node("Gather", [y, last], {"axis": 1}, outputs=[z]),
    ]
    graph = ir.Graph([x], [z], nodes=nodes, initializers=[last], opset_imports={"": 20}, name="g")
    model, notes = ir.Model(graph, ir_version=10), Notes()
    prune(model, {}, notes)
    return model, notes


@pytest.mark.parametrize("op", ["Relu", "Mish", "HardSwish", "LeakyRelu", "Softplus", "Swish", "Softmax"])
def test_an_operator_with_a_rule_is_pruned_in_silence(op: str) -> None:
    model, notes = pruned(op)
    assert not list(notes)
    assert next(n for n in model.graph if n.op_type == "Mul").outputs[0].shape == ir.Shape([1, 1, 4])


@pytest.mark.parametrize(
    ("op", "domain", "sentence"),
    [
        ("Foo", "somewhere", "prune: Foo (node n) has no row in the operator table, so all 60 frames of it are "
         "computed where the last one is asked for"),
        ("Trilu", "", "prune: Trilu (node n) has no rule along time in the operator table, so all 60 frames of it "
         "are computed where the last one is asked for"),
    ],
)  # fmt: skip
def test_what_is_given_up_is_said(op: str, domain: str, sentence: str) -> None:
    model, notes = pruned(op, domain)
    assert list(notes) == [sentence]
    assert next(n for n in model.graph if n.op_type == "Mul").outputs[0].shape == ir.Shape([1, 60, 4])


def test_what_is_given_up_reaches_the_warnings_of_a_build_whose_nodes_know_their_layers() -> None:
    batch = Axis("batch", 1, 2, 4)
    given, result = TensorSpec("x", "float32", (batch, SEQ, WIDTH)), TensorSpec("y", "float32", (batch, 3))
    module = MODULES["causal_convolutions"]().eval()
    built = build(module, Declaration("module", {}, (given,), (result,), module="mine.py:make"))
    (warning,) = built.warnings
    assert (
        warning.startswith("prune: Conv (node ") and "all 9 frames of it are computed along axis 2" in warning
    )
    assert [layer_of(node) for node in built.model.graph if node.op_type == "Conv"][:1] == ["layers.one"]


def test_what_needs_everything_is_not_given_up() -> None:
    _, notes = pruned("CumSum")
    assert not list(notes)


def test_nodes_of_one_reason_are_one_sentence() -> None:
    notes = Notes()
    for name in "abca":
        notes.add("prune", ir.node("Foo", [], name=name), "is slow")
    assert list(notes) == ["prune: Foo (node a and 2 more) is slow"]


def test_a_name_belongs_to_its_domain() -> None:
    assert known(ir.node("Relu", [], domain="somewhere")) is None
    assert known(ir.node("Relu", [], domain="ai.onnx")) is STANDARD["Relu"]
    assert known(ir.node("CachedAttention", [], domain="temport")).along is Along.ALL
