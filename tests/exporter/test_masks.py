"""The two looks at a finished file: no mask is computed in it, and each baked one is what its predicate says."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh

from temport.custom_ops.mask import MaskRule
from temport.exporter.graph.masks import BakedMask, MaskError, check_masks, computed_masks

RULE = MaskRule(causal=True, window=3)
N = 7


def model(nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray]) -> ir.Model:
    """scores `[N, N]` and a user's `key_mask [N]` go in; `nodes` must make `selected`."""
    graph = h.make_graph(
        nodes,
        "g",
        [
            h.make_tensor_value_info("scores", T.FLOAT, [N, N]),
            h.make_tensor_value_info("key_mask", T.BOOL, [N]),
        ],
        [h.make_tensor_value_info("selected", T.FLOAT, [N, N])],
        [nh.from_array(np.float32(-1), "low"), *(nh.from_array(a, name) for name, a in constants.items())],
    )
    return ir.from_proto(h.make_model(graph, opset_imports=[h.make_opsetid("", 20)]))


def where(mask: str) -> onnx.NodeProto:
    return h.make_node("Where", [mask, "scores", "low"], ["selected"], name="select")


def baked(rule: MaskRule = RULE) -> list[BakedMask]:
    return [BakedMask("mask_window", rule, N, N)]


def test_baked_mask_passes() -> None:
    assert check_masks(model([where("mask_window")], {"mask_window": RULE.array(N, N)}), baked()) == 1


def test_sliced_and_combined_with_a_given_mask_passes() -> None:
    constants = {
        "mask_window": RULE.array(2 * N, 2 * N),
        "zero": np.zeros(2, np.int64),
        "end": np.full(2, N, np.int64),
    }
    nodes = [
        h.make_node("Slice", ["mask_window", "zero", "end"], ["cut"]),
        h.make_node("And", ["cut", "key_mask"], ["both"]),
        where("both"),
    ]
    assert check_masks(model(nodes, constants), [BakedMask("mask_window", RULE, 2 * N, 2 * N)]) == 1


@pytest.mark.parametrize(
    "wrong",
    [MaskRule(causal=True, window=4), MaskRule(causal=True, window=2), MaskRule(causal=True), MaskRule()],
    ids=["one-key-more", "one-key-less", "no-window", "no-rule"],
)
def test_shifted_mask_is_seen(wrong: MaskRule) -> None:
    with pytest.raises(MaskError, match="differs"):
        check_masks(model([where("mask_window")], {"mask_window": wrong.array(N, N)}), baked())


def test_one_flipped_bit_is_seen() -> None:
    array = RULE.array(N, N)
    array[4, 1] ^= True
    with pytest.raises(MaskError, match="differs"):
        check_masks(model([where("mask_window")], {"mask_window": array}), baked())


def test_mask_without_a_predicate_is_seen() -> None:
    with pytest.raises(MaskError, match="no predicate"):
        check_masks(model([where("mystery")], {"mystery": RULE.array(N, N)}), baked())
    assert check_masks(model([where("mystery")], {"mystery": RULE.array(N, N)}), baked(), complete=False) == 0


COMPUTED = {
    "less": [h.make_node("LessOrEqual", ["cols", "rows"], ["m"]), where("m")],
    "less-then-moved": [
        h.make_node("LessOrEqual", ["cols", "rows"], ["a"]),
        h.make_node("Not", ["a"], ["b"]),
        h.make_node("Identity", ["b"], ["c"]),
        h.make_node("And", ["mask_window", "c"], ["m"]),
        where("m"),
    ],
    "trilu": [
        h.make_node("Trilu", ["ones"], ["a"], upper=0),
        h.make_node("Cast", ["a"], ["m"], to=T.BOOL),
        where("m"),
    ],
    "positions-counted": [
        h.make_node("CumSum", ["ones", "axis"], ["a"]),
        h.make_node("Greater", ["a", "ones"], ["m"]),
        where("m"),
    ],
}


@pytest.mark.parametrize("nodes", COMPUTED.values(), ids=COMPUTED.keys())
def test_computed_mask_is_seen(nodes: list[onnx.NodeProto]) -> None:
    positions = np.arange(N, dtype=np.int64)
    constants = {
        "mask_window": RULE.array(N, N),
        "rows": positions[:, None],
        "cols": positions[None, :],
        "ones": np.ones((N, N), np.float32),
        "axis": np.array(1, np.int64),
    }
    graph = model(nodes, constants)
    assert computed_masks(graph)
    with pytest.raises(MaskError, match="computes"):
        check_masks(graph, baked())


def test_selection_by_content_is_no_mask() -> None:
    nodes = [h.make_node("Greater", ["scores", "low"], ["positive"]), where("positive")]
    assert computed_masks(model(nodes, {})) == []


def test_mask_from_a_shape_is_computed() -> None:
    nodes = [
        h.make_node("Shape", ["scores"], ["shape"]),
        h.make_node("Gather", ["shape", "zero"], ["length"], axis=0),
        h.make_node("Range", ["zero", "length", "one"], ["positions"]),
        h.make_node("Unsqueeze", ["positions", "axes"], ["rows"]),
        h.make_node("GreaterOrEqual", ["rows", "positions"], ["m"]),
        where("m"),
    ]
    constants = {"zero": np.array(0), "one": np.array(1), "axes": np.array([1])}
    assert computed_masks(model(nodes, constants))


@pytest.mark.parametrize("wrong", [False, True])
def test_a_mask_that_pruning_cut_is_compared_with_its_last_rows(wrong: bool) -> None:
    rows = MaskRule(causal=True).array(5, 5)[-2:]
    rows[1, 0] ^= wrong
    table = ir.Value(
        name="m.baked/last/axis=1/count=2", const_value=ir.tensor(rows[None]), shape=ir.Shape([1, 2, 5])
    )
    graph = ir.Graph([], [], nodes=[], initializers=[table], opset_imports={"": 20}, name="g")
    model = ir.Model(graph, ir_version=10)
    baked = [BakedMask("m.baked", MaskRule(causal=True), 5, 5)]
    if wrong:
        with pytest.raises(MaskError, match="differs"):
            check_masks(model, baked)
    else:
        assert check_masks(model, baked) == 1
