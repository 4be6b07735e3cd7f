"""ONNX files that cannot be a source: each is one sentence and exit code 2, and nothing is written."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from temport.exporter.cli import app
from temport.exporter.onnx_source.declare import declare_onnx
from tests.exporter import onnx_files as files
from tests.exporter.onnx_files import written


def refused(path: Path, *words: str) -> str:
    """What the command says, with exit code 2 and nothing written."""
    out = path.parent / "nothing"
    with pytest.raises(SystemExit) as ending, pytest.MonkeyPatch.context() as patch:
        said: list[str] = []
        patch.setattr("temport.exporter.command.typer.echo", lambda text, **asked: said.append(text))
        app(["export", "--onnx", str(path), "--out", str(out), *words], prog_name="temport")
    assert ending.value.code == 2 and not out.exists()
    assert len(said) == 1 and said[0].startswith("error: ") and "\n" not in said[0], said
    return said[0]


def without_weight(model: onnx.ModelProto) -> None:
    del model.graph.initializer[0]


def foreign(model: onnx.ModelProto) -> None:
    model.graph.node[0].domain, model.graph.node[0].name = "com.microsoft", "first"
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def random_node(model: onnx.ModelProto) -> None:
    model.graph.node[0].CopyFrom(helper.make_node("RandomNormalLike", ["x"], ["m0"]))
    model.graph.node.insert(1, helper.make_node("MatMul", ["m0", "w"], ["m"]))


def beyond(location: str) -> Callable[[onnx.ModelProto], None]:
    def move(model: onnx.ModelProto) -> None:
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)

    return move


def opset(version: int) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        model.opset_import[0].version = version

    return change


def of_words(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.STRING
    del model.graph.node[:]
    model.graph.node.append(helper.make_node("Shape", ["x"], ["y"]))
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("y", TensorProto.INT64, [3]))


def by_values(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("NonZero", ["m"], ["places"]))
    model.graph.output.append(helper.make_tensor_value_info("places", TensorProto.INT64, [3, None]))


def slashed(model: onnx.ModelProto) -> None:
    model.graph.input[0].name = model.graph.node[0].input[0] = "a/x"


@pytest.mark.parametrize(
    ("harm", "words", "sentence"),
    [
        (None, "--streaming", "no input has the axis seq, and --streaming has to know"),
        (None, "--arch mega", "give one of --arch, --module and --onnx"),
        (None, "--set a=1", "belong to --arch"),
        (None, "--opset 16", "has opset 17, and a graph is not brought down"),
        (None, "--opset 99", "opset 99 is outside what can be exported"),
        (None, "--seq 4", "--seq names no axis of the file; .*time"),
        (None, "--axis tim=4", "--axis tim names no axis of the file; did you mean time"),
        (None, "--shape y=batch,time,4", "the file has no such input; did you mean|known: x"),
        (None, "--shape x=batch,4", "in the file x is float32 with 3 axes"),
        (None, "--shape x:bool=batch,time,4", "in the file x is float32"),
        (None, "--shape x=batch,time,5", "axis 2 of x is 5; it is 4 in"),
        (None, "--drop-output q", "there is no output 'q' to drop"),
        (None, "--output-names a/b,c", "each needs a name of its own"),
        (None, "--weights nowhere", "does not exist"),
        (without_weight, "", "is no valid ONNX model: .*'w'"),
        (foreign, "", "node first of .* is MatMul of the domain 'com.microsoft', which is no operator of ai.onnx"),
        (random_node, "", "is RandomNormalLike, which can be random"),
        (beyond("w.bin"), "", "keeps weights in 'w.bin' beside it; give --external-data"),
        (beyond("w.bin"), "--external-data", "lies in 'w.bin', which is no plain file beside the model"),
        (beyond("../w.bin"), "--external-data", "which is no plain file beside the model"),
        (beyond("link"), "--external-data", "which is no plain file beside the model"),
        (opset(6), "", "opset 6; the oldest that is read is 7|no valid ONNX model"),
        (of_words, "", "input x of .* is .*; inputs can be float32"),
        (by_values, "--batch 2 --axis time=1:3:5", "axis 1 of output places moves|output places is"),
        (slashed, "", "has a name with a slash"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_source_is_one_sentence(
    harm: Callable[[onnx.ModelProto], None] | None, words: str, sentence: str, tmp_path: Path
) -> None:
    model = files.dense()
    if harm is not None:
        harm(model)
    (tmp_path / "link").symlink_to("/etc/hostname")
    assert re.search(sentence, refused(written(tmp_path, model), *words.split()))


@pytest.mark.parametrize("content", [b"", b"no model", b"\x08\x08", files.dense().SerializeToString()[:-40]])
def test_a_file_that_is_no_onnx_is_one_sentence(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    assert "is not an ONNX model" in refused(tmp_path / "model.onnx")
    assert "does not exist" in refused(tmp_path / "nowhere.onnx")


def test_a_file_over_two_gib_is_one_sentence(tmp_path: Path) -> None:
    with (tmp_path / "model.onnx").open("wb") as file:
        file.truncate(2**31)  # a hole, which takes no disk
    assert "2.0 GiB, over protobuf's 2 GiB" in refused(tmp_path / "model.onnx")


def test_what_the_values_of_ids_are_has_to_be_said(tmp_path: Path) -> None:
    path = written(tmp_path, files.ids())
    assert "which values it takes was not said" in refused(path)
    clipped = files.ids()
    clipped.graph.node[2].attribute.append(helper.make_attribute("clip", 3.0))
    assert "is GRU with clip, which the evaluator" in refused(written(tmp_path, clipped))


def test_weights_beside_the_file_are_read_where_that_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(files.dense(), path, save_as_external_data=True, location="w.bin", size_threshold=0)
    assert "keeps weights in 'w.bin'" in refused(path)
    _, module = declare_onnx(path, external_data=True)
    np.testing.assert_array_equal(module.model.state_dict()["w"], files.random(4, 6))
