"""FLOPs of a graph against sums written out by hand."""

import itertools

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from temport.custom_ops.mask import MaskRule
from temport.exporter.declare.architectures import declare
from temport.exporter.declare.declaration import Axis, Declaration, TensorSpec
from temport.exporter.graph.flops import count_flops, node_flops, uncounted
from temport.exporter.report.work import work
from tests.traces import build


def one_node(op, shapes, output, weights=(), domain="", **attributes):
    """A model of one node; inputs named in `weights` are initializers."""
    node = helper.make_node(op, list(shapes), ["y"], domain=domain, **attributes)
    infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes.items()]
    constants = [
        helper.make_tensor(n, TensorProto.FLOAT, shapes[n], np.zeros(shapes[n]).ravel()) for n in weights
    ]
    graph = helper.make_graph(
        [node],
        "g",
        [info for info in infos if info.name not in weights],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, output)],
        constants,
    )
    imports = [helper.make_opsetid("", 23), helper.make_opsetid("temport", 1)]
    return ir.from_proto(helper.make_model(graph, opset_imports=imports))


STATIC = Declaration("test", {}, (TensorSpec("x", "float32", (Axis("batch", 1, 1, 1),)),), ())


def total(model):
    return sum(count_flops(model, STATIC).values())


def test_matmul_gemm_conv():
    shapes = {"x": [3, 5, 7], "w": [7, 11]}
    assert total(one_node("MatMul", shapes, [3, 5, 11])) == 2 * 3 * 5 * 7 * 11
    assert total(one_node("Gemm", {"x": [7, 5], "w": [11, 7]}, [5, 11], transA=1, transB=1)) == 2 * 5 * 7 * 11
    conv = one_node("Conv", {"x": [2, 6, 9], "w": [6, 1, 4]}, [2, 6, 9], group=6, pads=[3, 0])
    assert total(conv) == 2 * 2 * 6 * 9 * 4


def test_a_fused_dense_layer_counts_as_the_product_that_it_was():
    one = {"x": [2, 5, 7], "w": [7, 11], "b": [11]}
    assert total(one_node("FusedDense", one, [2, 5, 11], domain="temport")) == 2 * 2 * 5 * 7 * 11
    two = {"x": [5, 2 * 7], "w": [2, 7, 11], "b": [2 * 11]}
    assert total(one_node("FusedDense", two, [5, 2 * 11], domain="temport", groups=2)) == 2 * 5 * 2 * 7 * 11


def test_one_node_is_counted_by_the_shapes_that_it_has():
    fixed, moving = (one_node("MatMul", {"x": [n, 7], "w": [7, 11]}, [n, 11]) for n in (5, "n"))
    assert [node_flops(node) for node in fixed.graph] == [2 * 5 * 7 * 11]
    assert [node_flops(node) for node in moving.graph] == [None]
    assert [node_flops(node) for node in one_node("Relu", {"x": ["n", 7]}, ["n", 7]).graph] == [0]


@pytest.mark.parametrize(
    ("op", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1), ("FusedLSTM", 4), ("FusedGRU", 3)]
)
def test_recurrence_counts_both_products_of_every_frame(op, gates):
    shapes = {"x": [9, 2, 5], "w": [1, gates * 3, 5], "r": [1, gates * 3, 3]}
    domain = "temport" if op.startswith("Fused") else ""
    layer = one_node(op, shapes, [9, 1, 2, 3], ("w", "r"), domain, hidden_size=3)
    assert total(layer) == 2 * 9 * 2 * gates * 3 * (5 + 3)


@pytest.mark.parametrize("window", [0, 1, 4, 100])
@pytest.mark.parametrize(("T", "S"), [(1, 1), (1, 9), (7, 7), (5, 9)])
def test_attention_counts_allowed_pairs(T, S, window):
    shapes = {"q": [2, T, 6 * 4], "k": [2, S, 3 * 4], "v": [2, S, 3 * 5]}
    attributes = dict(num_heads=6, kv_num_heads=3, causal=1, window=window, query_offset=-1, scale=0.5)
    model = one_node("OnlineSoftmaxAttention", shapes, [2, T, 30], domain="temport", **attributes)
    pairs = int(MaskRule(causal=True, window=window).array(T, S).sum())
    assert total(model) == 2 * 2 * 6 * (4 + 5) * pairs


@pytest.mark.parametrize("block", [1, 3, 4, 9])
@pytest.mark.parametrize("T", [1, 4, 8, 9])
def test_block_linear_counts_blocks_and_state(T, block):
    attributes = dict(
        num_heads=2, block_size=block, scale=0.5, feature_map="elu1", normalizer="none", eps=1e-8
    )
    shapes = {"q": [1, T, 2 * 3 * 4]}
    model = one_node("BlockLinearAttention", shapes, [1, T, 8], domain="temport", **attributes)
    pairs = sum(i // block == j // block and j <= i for i, j in itertools.product(range(T), repeat=2))
    read = sum(i >= block for i in range(T))
    written = sum(i // block < (T - 1) // block for i in range(T))
    assert total(model) == 2 * 2 * ((4 + 4) * pairs + (read + written) * 4 * 4)


def test_standard_attention_is_top_left():
    shapes = {"q": [1, 5, 8], "k": [1, 3, 8], "v": [1, 3, 8]}
    model = one_node("Attention", shapes, [1, 5, 8], q_num_heads=2, kv_num_heads=2, is_causal=1)
    assert total(model) == 2 * 2 * (4 + 4) * (1 + 2 + 3 + 3 + 3)


def test_symbolic_axes_count_at_their_opt():
    fixed, module, _ = declare("dms", ["hid_dim=16", "n_heads=2"], batch="3", seq="5", memory="7")
    moving, _, _ = declare("dms", ["hid_dim=16", "n_heads=2"], batch="1:3:8", seq="1:5:9", memory="1:7:9")
    assert build(module, moving).flops["traced"] == build(module, fixed).flops["traced"]


def test_einsum_counts_every_choice_of_its_indices():
    x, w = [2, 5, 7], [7, 11]
    assert (
        total(one_node("Einsum", {"x": x, "w": w}, [2, 5, 11], equation="btc,cd->btd")) == 2 * 2 * 5 * 7 * 11
    )
    assert (
        total(one_node("Einsum", {"x": x, "w": w}, [2, 5, 11], equation="...c, cd -> ...d"))
        == 2 * 2 * 5 * 7 * 11
    )
    assert total(one_node("Einsum", {"x": x}, [2, 7, 5], equation="btc->bct")) == 0


def test_transposed_convolution_counts_each_tap_of_each_entry():
    shapes = {"x": [2, 6, 9], "w": [6, 4, 3]}
    assert total(one_node("ConvTranspose", shapes, [2, 4, 11])) == 2 * 2 * 6 * 9 * 4 * 3


def test_an_operator_without_a_row_is_told():
    assert [n.op_type for n in uncounted(one_node("Foo", {"x": [2, 3]}, [2, 3], domain="theirs"))] == ["Foo"]


def test_work_in_words():
    assert (
        work({"traced": {"MatMul": 5e6}, "exported": {"MatMul": 2.5e6}})
        == "5 MFLOP traced, 2.5 MFLOP exported"
    )
    assert work({"traced": {}, "exported": {}}) == "no matrix product, recurrence or attention"
    assert work({"traced": None, "exported": None}) == "not known, since a size depends on the data"


def test_pruning_shows_in_the_count():
    declaration, module, _ = declare("sliding_window", ["embed_dim=8", "window_size=3"], seq="20")
    flops = build(module, declaration).flops
    assert sum(flops["exported"].values()) < sum(flops["traced"].values())


def test_sizes_that_depend_on_data_are_not_counted():
    graph = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 20]> g (float[4] x, float[2,3] w) => (float[n,3] y)'
        "{ i = NonZero(x)  t = Transpose<perm=[1,0]>(i)  f = Cast<to=1>(t)"
        "  p = Concat<axis=1>(f, f)  y = MatMul(p, w) }"
    )
    assert count_flops(ir.from_proto(graph), STATIC) is None


def test_a_frame_counts_every_row_of_its_caches():
    B, N, H, D = 2, 7, 3, 4
    rows, sums = [B, N, H * D], [B, H, D, D + 1]
    shapes = {"qkv": [B, 1, 3 * H * D], "keys": rows, "values": rows}
    softmax = one_node(
        "CachedAttention", {**shapes, "frames": [B, 1]}, [B, 1, H * D], domain="temport", num_heads=H
    )
    assert total(softmax) == 2 * B * H * N * (D + D)
    shapes |= {"earlier": sums, "block": sums, "lost": sums, "frames": [B, 1]}
    linear = one_node("CachedBlockLinearAttention", shapes, [B, 1, H * D], domain="temport", num_heads=H)
    assert total(linear) == 2 * B * H * (N * (D + D) + D * D + D * D)
