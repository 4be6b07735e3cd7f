"""Models that would have a runtime read files: three readers refuse them before a runtime sees them."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper
from readers import model, refusals, whole

import temport
from temport.exporter.bundle.external_data import external_tensors
from temport.exporter.errors import UserError

DATA = "model.onnx.data"


def stored(*locations: str, name: str = "w") -> TensorProto:
    """A tensor whose data lie in files."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    for location in locations:
        tensor.external_data.add(key="location", value=location)
    return tensor


def changed(change: Callable[[onnx.ModelProto], None]) -> bytes:
    made = model()
    change(made)
    return made.SerializeToString()


def main_weight(*tensors: TensorProto) -> bytes:
    return changed(lambda made: made.graph.initializer.extend(tensors))


def ways(kind: Any = onnx.ModelProto) -> Iterator[list[Any]]:
    """For every field of ONNX that leads towards a tensor, the fields from a model through it to one."""
    to_tensor = {onnx.TensorProto.DESCRIPTOR.full_name: []}
    kinds = {
        m.DESCRIPTOR.full_name: m
        for m in vars(onnx).values()
        if isinstance(m, type) and hasattr(m, "DESCRIPTOR")
    }
    fields = [
        f
        for m in kinds.values()
        if hasattr(m.DESCRIPTOR, "fields")
        for f in m.DESCRIPTOR.fields
        if f.message_type
    ]
    for _ in fields:  # as often as a way can be long
        for field in fields:
            rest = to_tensor.get(field.message_type.full_name)
            if rest is not None:
                to_tensor.setdefault(field.containing_type.full_name, [field, *rest])
    from_model: dict[str, list[Any]] = {kind.DESCRIPTOR.full_name: []}
    pending = deque([kind.DESCRIPTOR])
    while pending:
        here = pending.popleft()
        for field in here.fields:
            inner = field.message_type
            if inner is None or inner.full_name not in to_tensor:
                continue
            yield [*from_model[here.full_name], field, *to_tensor[inner.full_name]]
            if inner.full_name not in from_model:
                from_model[inner.full_name] = [*from_model[here.full_name], field]
                pending.append(inner)


def along(way: Sequence[Any], tensor: TensorProto) -> bytes:
    """A model with the tensor at the end of that way."""
    made = model()
    place: Any = made
    for field in way:
        inner = getattr(place, field.name)
        place = inner.add() if hasattr(inner, "add") else inner
    place.CopyFrom(tensor)
    return made.SerializeToString()


def inside(levels: int) -> bytes:
    """A branch in a branch, as deep as asked for, in bytes: protobuf itself refuses to write it."""

    def field(number: int, content: bytes) -> bytes:
        size, length = b"", len(content)
        while length > 127:
            size, length = size + bytes([length & 127 | 128]), length >> 7
        return bytes([number << 3 | 2]) + size + bytes([length]) + content

    graph = field(5, stored("/etc/passwd").SerializeToString())
    for _ in range(levels):
        graph = field(1, field(5, field(6, graph)))
    return model().SerializeToString() + field(7, graph)


def wide_tag() -> bytes:
    """A graph whose tag has a 33rd bit: who drops it reads the graph, who keeps it an unknown field."""
    graph = onnx.GraphProto()
    graph.node.add().attribute.add().t.CopyFrom(stored("/etc/passwd"))
    content = graph.SerializeToString()
    tag = 7 << 3 | 2 | 1 << 32
    coded = bytes(tag >> shift & 127 | (128 if shift < 28 else 0) for shift in range(0, 35, 7))
    return model().SerializeToString() + coded + bytes([len(content)]) + content


def branch(tensor: TensorProto) -> Callable[[onnx.ModelProto], None]:
    def change(made: onnx.ModelProto) -> None:
        out = helper.make_tensor_value_info("o", TensorProto.FLOAT, [1])
        inner = helper.make_graph([helper.make_node("Identity", ["w"], ["o"])], "b", [], [out], [tensor])
        made.graph.initializer.append(helper.make_tensor("c", TensorProto.BOOL, [], [True]))
        made.graph.node.append(helper.make_node("If", ["c"], ["z"], then_branch=inner, else_branch=inner))

    return change


def function_bomb(made: onnx.ModelProto) -> None:
    """Functions that call the next one twice."""
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("temport", 1)]
    for level in range(40):
        inner = f"F{level + 1}"
        calls = [helper.make_node(inner, [a], [b], domain="temport") for a, b in (("x", "h"), ("h", "y"))]
        made.functions.append(helper.make_function("temport", f"F{level}", ["x"], ["y"], calls, opsets))


def hostile() -> dict[str, tuple[bytes, tuple[str, ...]]]:
    """What it is -> the model and the files beside it that the manifest lists."""
    found = {f"by {'.'.join(f.name for f in way)}": (along(way, stored("x")), ()) for way in ways()}
    for place in (
        "/etc/passwd",
        f"../{DATA}",
        f"./{DATA}",
        f"sub/{DATA}",
        f"{DATA}/",
        "",
        ".",
        "*/_ORT_MEM_ADDR_/*",
    ):
        found[f"at {place!r}"] = main_weight(stored(place)), (DATA,)
    for place in ("manifest.json", "model.onnx", "model.onnxdata", "vectors.npz", f"{DATA}\0", DATA.upper()):
        found[f"at {place!r}, which is no file of weights"] = (
            main_weight(stored(place)),
            (DATA, "vectors.npz"),
        )
    loose = stored()
    loose.ClearField("data_location")
    loose.external_data.add(key="location", value="/etc/passwd")
    return found | {
        "at a file that is not listed": (main_weight(stored(DATA)), ()),
        "in a branch, at a listed file": (changed(branch(stored(DATA))), (DATA,)),
        "at two places": (main_weight(stored(DATA, "/etc/passwd")), (DATA,)),
        "at a listed file and elsewhere": (main_weight(stored(DATA), stored("/etc/passwd")), (DATA,)),
        "at no place": (main_weight(stored()), (DATA,)),
        "that does not say that it lies elsewhere": (main_weight(loose), (DATA,)),
        "in branches 40 deep": (inside(30), ()),
        "in branches 400 deep": (inside(400), ()),
        "behind a tag of 33 bits": (wide_tag(), ()),
        "in ONNX Runtime's own format": (b"\x12\x06\0\0ORTM" + model().SerializeToString(), ()),
        "whose functions call functions": (changed(function_bomb), ()),
        "cut": (model().SerializeToString()[:-1], ()),
        "of nothing": (b"", ()),
    }


def test_every_reader_refuses_the_same_models(tmp_path: Path) -> None:
    table = hostile()
    assert len({field.full_name for way in ways() for field in way}) == 19
    made = [whole(tmp_path / str(i), *case) for i, case in enumerate(table.values())]
    for reader, said in refusals(made).items():
        taken = [told for told, line in zip(table, said, strict=True) if not line]
        assert not taken, f"{reader}: {taken}"
        assert all("model.onnx is refused" in line for line in said), f"{reader}: {said}"
        by_way = [line for told, line in zip(table, said, strict=True) if told.startswith("by ")]
        assert all("it reads" in line for line in by_way), f"{reader}: {by_way}"


def test_weights_in_a_listed_file_are_taken(tmp_path: Path) -> None:
    made = [
        whole(tmp_path / "plain", model().SerializeToString()),
        whole(tmp_path / "beside", main_weight(stored(DATA)), (DATA,)),
        whole(
            tmp_path / "two",
            main_weight(stored(DATA), stored("model.onnx.2", name="v")),
            (DATA, "model.onnx.2"),
        ),
    ]
    assert refusals(made) == {reader: ["", "", ""] for reader in ("Python", "C++", "JavaScript")}


@pytest.mark.parametrize("what", ["link", "directory"])
def test_weights_that_are_no_file_are_refused(tmp_path: Path, what: str) -> None:
    bundle = whole(tmp_path / "b", main_weight(stored(DATA)), (DATA,))
    (bundle / DATA).rename(tmp_path / "elsewhere")
    if what == "link":
        (bundle / DATA).symlink_to(tmp_path / "elsewhere")
    else:
        (bundle / DATA).mkdir()
    for reader, (line,) in refusals([bundle]).items():
        assert DATA in line, reader


def test_a_file_of_the_working_directory_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime would read it: that is what makes the refusal worth something."""
    import onnxruntime

    content = changed(branch(stored("secret")))
    bundle = whole(tmp_path / "b", content)
    (tmp_path / "secret").write_bytes(b"\0\0\0\0")
    monkeypatch.chdir(tmp_path)
    onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    with pytest.raises(UserError, match=r"model\.onnx is refused: it reads a file for 'w'"):
        temport.load(bundle)
    for said in refusals([bundle]).values():
        assert "it reads a file for" in said[0]


def test_an_export_keeps_what_branches_hold_inside(tmp_path: Path) -> None:
    """`--external-data` moves the weights of the main graph only: nobody would find the others."""
    import onnx_ir as ir

    from temport.exporter.bundle.model_file import write_model

    big = helper.make_tensor("w", TensorProto.FLOAT, [1000], [0.5] * 1000)
    made = model()
    branch(big)(made)
    made.graph.initializer.append(helper.make_tensor("v", TensorProto.FLOAT, [1000], [0.25] * 1000))
    write_model(ir.from_proto(made), tmp_path / "model.onnx", external_data=True)
    written = onnx.load(tmp_path / "model.onnx", load_external_data=False)
    assert [tensor.name for tensor in external_tensors(written, inside=False)] == ["v"]
    assert not list(external_tensors(written, inside=True))
    attribute = written.graph.node[-1].attribute[0]
    assert onnx.numpy_helper.to_array(attribute.g.initializer[0])[-1] == 0.5
    assert os.listdir(tmp_path).count(DATA) == 1
