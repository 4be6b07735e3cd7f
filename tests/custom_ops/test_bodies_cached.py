"""Bodies of the ops over a ring of cached frames: both forms, in every runtime, against the float64 reference."""

from dataclasses import replace

import numpy as np
import onnx
import onnx.inliner
import onnx_ir
import pytest
import torch
from body_checks import boolean_constants, shift_masks, wrong_masks
from one_node import RUNTIMES, bound, error
from onnx import TensorProto, helper, numpy_helper
from step_cases import LINEAR, LONG, SOFTMAX, STEPS, Step

from temport.custom_ops.body_graph import BodyGraph
from temport.custom_ops.cached_attention import cached_attention
from temport.custom_ops.cached_block_linear_attention import cached_block_linear_attention
from temport.custom_ops.op import Body, Specialisation
from temport.custom_ops.table import OPS
from temport.exporter.graph.masks import computed_masks

TORCH = {SOFTMAX: cached_attention, LINEAR: cached_block_linear_attention}
FORMS = [("dense", 18), ("attention", 23)]
LONGEST_IN_OPENVINO = 2**24
"""Its CPU plugin takes the modulus of integers in float32: 77 hours at 60 frames a second."""


def all_outputs(runtime, proto, inputs):
    """Each output in turn as the model's only one: the runtimes here give the first."""
    found = []
    for output in proto.graph.output:
        alone = onnx.ModelProto()
        alone.CopyFrom(proto)
        del alone.graph.output[:]
        alone.graph.output.append(output)
        found.append(RUNTIMES[runtime](alone, inputs))
    return found


def check(step, body, opset, runtime="onnxruntime", dtype="float32"):
    inputs = step.inputs(dtype)
    proto = step.model(inputs, body, opset)
    onnx.checker.check_model(proto, full_check=True)
    truths = OPS[step.op].reference(inputs, step.attributes)
    own = TORCH[step.op](*map(torch.from_numpy, inputs), **step.attributes)
    for got, truth, mine in zip(all_outputs(runtime, proto, inputs), truths, own, strict=True):
        assert got.shape == truth.shape and got.dtype == dtype
        assert error(got, truth) <= bound(truth, mine.numpy(), dtype)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(("form", "opset"), FORMS, ids=["dense", "attention"])
@pytest.mark.parametrize("step", STEPS, ids=str)
def test_every_output_in_every_runtime(step, form, opset, runtime):
    if runtime == "openvino":
        frames = tuple(n if n < LONG else LONGEST_IN_OPENVINO - 2 * step.N + n % step.N for n in step.frames)
        step = replace(step, frames=frames)
    check(step, step.body(form, opset), opset, runtime)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
@pytest.mark.parametrize("op", [SOFTMAX, LINEAR])
def test_other_dtypes(op, dtype):
    step = Step(
        op, 5, 2, 4, (4, 12)
    )  # of 4 features: ONNX Runtime fuses a scale as a float32, which holds 1/2
    check(step, step.body(dtype=dtype), 18, dtype=dtype)


@pytest.mark.parametrize("frames", [(3, 9), (2, 4)])
def test_sums_and_what_rounding_took_are_the_torch_ops_bit_for_bit(frames):
    """One step shows a wrong compensation in its last bits only, and a stream not before many frames."""
    step = Step(LINEAR, 4, 2, 5, frames, feature_map="identity")
    inputs = step.inputs("float32")
    outputs = all_outputs("onnxruntime", step.model(inputs, step.body()), inputs)
    own = TORCH[LINEAR](*map(torch.from_numpy, inputs), **step.attributes)
    for output, mine in zip(outputs[3:], own[3:], strict=True):
        np.testing.assert_array_equal(output, mine.numpy())
    assert outputs[5].any()


@pytest.mark.parametrize("step", [Step(op, N) for op in (SOFTMAX, LINEAR) for N in (1, 2, 60)], ids=str)
def test_which_rows_are_filled_is_a_table_from_its_predicate(step):
    """Re-derived here: row n allows what n frames fill."""
    body = step.body()
    assert not wrong_masks(body)
    (table,) = boolean_constants(body.function).values()
    np.testing.assert_array_equal(table, np.arange(step.N) < np.arange(step.N + 1)[:, None])


@pytest.mark.parametrize("op", [SOFTMAX, LINEAR])
def test_no_mask_is_computed(op):
    """The rows that Equal tells are where the frame is written, by data; no attention is masked by them."""
    step = Step(op)
    graph = onnx.inliner.inline_local_functions(step.model(step.inputs("float32"), step.body()))
    assert not computed_masks(onnx_ir.from_proto(graph))


@pytest.mark.parametrize("frames", [(2,), (LONG + 1,)])
@pytest.mark.parametrize("op", [SOFTMAX, LINEAR])
def test_shifted_rows_are_seen(op, frames):
    """A table moved by one row is not its predicate's, and where the ring is not full the output is another."""
    step = Step(op, frames=frames)
    body = shift_masks(step.body())
    assert set(wrong_masks(body)) == set(body.masks) and body.masks
    inputs = step.inputs("float32")
    output = RUNTIMES["onnxruntime"](step.model(inputs, body), inputs)
    differs = error(output, OPS[op].reference(inputs, step.attributes)[0]) > 1e-3
    assert differs == (op == LINEAR or frames[0] < step.N)


@pytest.mark.parametrize("op", [SOFTMAX, LINEAR])
def test_a_wrong_slot_is_seen(op):
    """The modulus one too large: the row that is written is one that no row is, or the one before."""
    step = Step(op, frames=(5, 11))
    body = step.body()
    changed = onnx.FunctionProto()
    changed.CopyFrom(body.function)
    (modulus,) = (node.input[1] for node in changed.node if node.op_type == "Mod")
    (tensor,) = (node.attribute[0].t for node in changed.node if modulus in node.output)
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) + 1))
    inputs = step.inputs("float32")
    proto = step.model(inputs, Body(changed, body.form, body.masks))
    _, keys, *_ = all_outputs("onnxruntime", proto, inputs)
    assert error(keys, OPS[op].reference(inputs, step.attributes)[1]) > 1e-3


@pytest.mark.parametrize("op", [SOFTMAX, LINEAR])
def test_bodies_that_cannot_be_say_why(op):
    step = Step(op)
    open_rows = Specialisation(attributes=step.attributes, query_length=1, key_length=None, opset=18)
    with pytest.raises(ValueError, match=f"^{op}: the caches must have a fixed number of rows"):
        OPS[op].body(open_rows)
    with pytest.raises(
        ValueError, match=f"^{op}: the body form is 'banded'; it must be auto, dense, attention"
    ):
        step.body("banded")
    with pytest.raises(ValueError, match="the attention body needs opset 23"):
        step.body("attention", 18)


@pytest.mark.parametrize("op", [SOFTMAX, LINEAR])
def test_shapes_are_inferred(op):
    step = Step(op, 5, 2, 3)
    proto = step.model(step.inputs("float32"), None)
    for output in proto.graph.output:
        output.CopyFrom(helper.make_tensor_value_info(output.name, TensorProto.FLOAT, None))
    inferred = onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True)
    sizes = {
        value.name: [d.dim_value or d.dim_param for d in value.type.tensor_type.shape.dim]
        for value in inferred.graph.output
    }
    rows, sums = ["batch", 5, 6], ["batch", 2, 3, 4]
    expected = {"Y": ["batch", 1, 6], "NextKeys": rows, "NextValues": rows}
    expected |= {f"Next{n}": sums for n in ("Earlier", "Block", "Lost")} if op == LINEAR else {}
    assert sizes == expected
    proto.graph.input[1].type.tensor_type.shape.dim[2].dim_value = 7
    with pytest.raises(ValueError, match=f"{op}: the last axis of Keys is 7"):
        onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True)


def test_a_body_has_as_many_results_as_the_op_outputs():
    step = Step(SOFTMAX)
    at = Specialisation(attributes=step.attributes, query_length=1, key_length=5, opset=18)
    graph = BodyGraph(OPS[SOFTMAX].schema, at, ())
    with pytest.raises(ValueError, match="longer than"):
        graph.function(graph.inputs["Keys"], like=graph.inputs["QKV"])
