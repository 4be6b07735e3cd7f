"""One frame of a stream in `temport bench model`: what is timed is right and warm, and what its floor counts."""

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from temport.exporter.bench import model_stream
from temport.exporter.bench.model import run
from temport.exporter.bench.model_stream import StreamCase, weight_bytes
from temport.exporter.errors import UserError
from temport.exporter.runtimes import runtime_named
from temport.exporter.runtimes.subject import Subject

SMALL = {
    "sliding_window": ("embed_dim=6", "num_heads=2", "head_dim=8", "ffn_dim=12", "window_size=7"),
    "mega": ("embed_dim=6", "hidden_size=16", "num_layers=2", "ema_dim=3"),
    "lightning": ("embed_dim=6", "hidden_size=16", "num_heads=2", "block_size=8", "feature_map=elu1"),
}


@pytest.fixture(scope="module", params=["lightning", pytest.param("mega", marks=pytest.mark.thorough)])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> StreamCase:
    return StreamCase(request.param, SMALL[request.param], tmp_path_factory.mktemp("stream"))


def test_the_timed_step_is_warm_and_right(case: StreamCase) -> None:
    result = case.measure(1, 0.01)
    assert result.step.median > 0 and 0 < result.floor < 1e-3 and result.profile
    with runtime_named("onnxruntime_cpu").open(Subject(case.step, case.step_path)) as session:
        feed, frames = model_stream.warm(case.step, session.run)
    assert feed["state.frames"] == frames.shape[1] - 1 > 2 * model_stream.WINDOW


def test_a_wrong_step_is_not_timed(case: StreamCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = onnx.load(case.step_path)
    largest = max(wrong.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    largest.CopyFrom(numpy_helper.from_array(1.5 * numpy_helper.to_array(largest), largest.name))
    onnx.save(wrong, tmp_path / "wrong.onnx")
    monkeypatch.setattr(case, "step_path", tmp_path / "wrong.onnx")
    with pytest.raises(UserError, match=f"the step model of {case.arch} is off by"):
        case.measure(1, 0.01)


def test_weights_count_once_and_gathered_tables_do_not() -> None:
    weights = {
        "table": np.zeros((100, 4), np.float32),
        "matrix": np.zeros((4, 5), np.float32),
        "bias": np.zeros(5, np.float16),
    }
    nodes = [
        helper.make_node("Gather", ["table", "i"], ["row"]),
        helper.make_node("MatMul", ["row", "matrix"], ["a"]),
        helper.make_node("MatMul", ["row", "matrix"], ["b"]),
        helper.make_node("Add", ["a", "bias"], ["c"]),
    ]
    inputs = [helper.make_tensor_value_info("i", TensorProto.INT64, [1])]
    constants = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "step", inputs, [], constants)
    assert weight_bytes(helper.make_model(graph)) == 4 * 5 * 4 + 5 * 2


def test_what_cannot_stream_says_why() -> None:
    report = run(["dms"], [], threads=(1,), seconds=0.01)
    assert not report.streams and "carries nothing from frame to frame" in report.not_streamed["dms"]


def test_streams_are_rows_of_the_report(tmp_path: Path) -> None:
    report = run(["sliding_window"], [], threads=(1,), seconds=0.01, settings=SMALL["sliding_window"])
    numbers, picture = report.write(tmp_path)
    (stored,) = json.loads(numbers.read_text())["streams"]
    assert stored["step"]["median"] > 0 and stored["weight_bytes"] > 0 and stored["read_bandwidth"] > 0
    texts = [text.text for text in ElementTree.parse(picture).iter("{http://www.w3.org/2000/svg}text")]
    assert "sliding_window, frame by frame, threads 1" in texts
