"""Manifests, bad ones and good ones, each with its model: what every reader has to refuse, and to take."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

from readers import BATCH, STEP, WINDOW, entry, manifest, model

DELETED = object()

Case = tuple[str, bytes, bytes]
"""What it is, the manifest, the model."""


def changed(signature: dict[str, Any], *path: Any, to: Any) -> Case:
    """A manifest with one value replaced or deleted; the model bears the same signature and its hash is right."""
    said = manifest(copy.deepcopy(signature))
    place: Any = said
    for key in path[:-1]:
        place = place[key]
    if to is DELETED:
        del place[path[-1]]
    else:
        place[path[-1]] = to
    content = model(said.get("signature", WINDOW)).SerializeToString()
    if said.get("files") == {"model.onnx": {}} and path[0] != "files":
        said["files"]["model.onnx"] = entry(content)
    told = f"{'/'.join(map(str, path))} = {'nothing' if to is DELETED else repr(to)[:60]}"
    return told, json.dumps(said).encode(), content


def in_files(name: str, **changes: Any) -> Case:
    """A manifest with a file of that name, its entry the model's with changes."""
    content = model().SerializeToString()
    own = {**entry(content), **changes}
    listed = {key: value for key, value in own.items() if value is not DELETED}
    said = {**manifest(), "files": {"model.onnx": entry(content), name: listed}}
    return f"file {name[:20]!r} {changes}", json.dumps(said).encode(), content


def spelled(told: str, change: Callable[[bytes], bytes], option: Any = 0.375) -> Case:
    """The text of a manifest, changed."""
    content = model().SerializeToString()
    said = {**manifest(), "files": {"model.onnx": entry(content)}}
    said["declaration"]["options"]["dropout"] = option
    return told, change(json.dumps(said).encode()), content


def replaced(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    def change(text: bytes) -> bytes:
        assert old in text
        return text.replace(old, new, 1)

    return change


def axis(**changes: Any) -> dict[str, Any]:
    named = {"name": "batch", "min": 1, "opt": 2, "max": 4} | changes
    return {key: value for key, value in named.items() if value is not DELETED}


GOAL = {"name": "goal", "dtype": "float32", "shape": [BATCH, 2]}


def stream(**changes: Any) -> dict[str, Any]:
    said = {"reset": "zeros", "static": [], "delay": 0} | changes
    return {key: value for key, value in said.items() if value is not DELETED}


def counted(dtype: str, shape: list[Any]) -> dict[str, Any]:
    """The step model with one state more, which may count its frames."""
    before, after = (
        {"name": f"{side}.frames", "dtype": dtype, "shape": shape} for side in ("state", "next_state")
    )
    pair = {"input": "state.frames", "output": "next_state.frames"}
    return {
        "inputs": [*STEP["inputs"], before],
        "outputs": [*STEP["outputs"], after],
        "states": [*STEP["states"], pair],
    }


def bad() -> Iterator[Case]:
    for key in ("format", "temport", "semantics", "declaration", "signature", "files", "masks", "versions"):
        yield changed(WINDOW, key, to=DELETED)
        yield changed(WINDOW, key, to=7)
    for path in (("more",), ("declaration", "more"), ("signature", "more"), ("masks", 0, "more")):
        yield changed(WINDOW, *path, to=1)
    for value in ("1", True, 1.5, 2, None):
        yield changed(WINDOW, "format", to=value)
    yield changed(WINDOW, "semantics", to=2)
    for key, value in {
        "semantics": 2,
        "arch": "",
        "ops": "magic",
        "precision": "float8",
        "opset": -1,
        "seed": 0.5,
        "notes": [1],
        "without": "prune",
        "module": 3,
        "streaming": 0,
        "options": {"a": {"b": 1}},
        "inputs": [],
    }.items():
        yield changed(WINDOW, "declaration", key, to=value)
    for key in ("arch", "options", "inputs", "outputs", "ops", "semantics", "notes"):
        yield changed(WINDOW, "declaration", key, to=DELETED)
    yield changed(WINDOW, "declaration", "arch", to="a" * 256)
    yield changed(WINDOW, "declaration", "arch", to="a\n")
    yield changed(WINDOW, "masks", 0, "shape", to=[3, 3, 3])
    yield changed(WINDOW, "versions", "torch", to=2)
    yield changed(WINDOW, "verdict", to="perhaps")
    yield changed(WINDOW, "source", to="0" * 63)
    yield from _bad_signatures()
    yield from _bad_streams()
    yield from _bad_files()
    yield from _bad_texts()


def _bad_signatures() -> Iterator[Case]:
    for side in ("inputs", "outputs"):
        for value in (DELETED, [], {}, [7], WINDOW[side] * 2, WINDOW[side] * 257):
            yield changed(WINDOW, "signature", side, to=value)
    spec = ("signature", "inputs", 0)
    for key, values in {
        "name": (DELETED, "", "y", "x\0", "x\x7f", "é" * 256, 1),
        "dtype": (DELETED, "float31", "FLOAT32", 1),
        "shape": (DELETED, 3, [axis()] * 9, [2**40, 2], [2**41]),
        "more": (1,),
    }.items():
        for value in values:
            yield changed(WINDOW, *spec, key, to=value)
    for value in (0, -1, 1.5, True, "3", None, axis(min=2, opt=1), axis(opt=5), axis(max=5), axis(min=-1)):
        yield changed(WINDOW, *spec, "shape", 0, to=value)
    for value in (axis(name=""), axis(more=1), axis(max=DELETED), axis(min=1.5), axis(max=2**41)):
        yield changed(WINDOW, *spec, "shape", 0, to=value)
    for name in (
        "time",
        "batch + 1",
        "batch // 0",
        "batch +",
        "batch batch",
        "2 * time",
        "(batch",
        "batch.real",
        "-batch",
    ):
        yield changed(WINDOW, "signature", "outputs", 0, "shape", 0, to=axis(name=name))
    for value in (
        [],
        [7],
        {},
        [{"input": "state.a"}],
        STEP["states"][:1] * 2,
        [STEP["states"][0], {**STEP["states"][0], "output": "output"}],
    ):
        yield changed(STEP, "signature", "states", to=value)
    yield changed(STEP, "declaration", "kv_dtype", to="float16")
    state = ("signature", "states", 0)
    for key, value in {"input": "none", "output": "none", "in_place": 1, "more": 1}.items():
        yield changed(STEP, *state, key, to=value)
    yield changed(STEP, *state, "output", to="output.b")
    yield changed(STEP, *state, "input", to="state.b")
    yield changed(STEP, "signature", "inputs", 1, "dtype", to="float64")
    yield changed(STEP, "signature", "inputs", 1, "shape", 1, to=4)
    yield changed(STEP, "signature", "inputs", 0, "shape", to=[3, 1, 3])
    yield changed(STEP, "signature", "outputs", 0, "shape", to=[])
    yield changed({**STEP, "inputs": STEP["inputs"][1:]}, "temport", to="0")
    yield changed(json.loads(json.dumps(STEP).replace('"min": 1', '"min": 0')), "temport", to="0")
    yield changed({**STEP, "outputs": STEP["outputs"][1:]}, "temport", to="0")


def _bad_streams() -> Iterator[Case]:
    """What a manifest says of a stream: its form, and that it is that of the signature; and scales that are none."""
    yield changed(WINDOW, "stream", to=stream())
    for value in (
        7,
        stream(reset="last"),
        stream(delay=-1),
        stream(delay=DELETED),
        stream(static=DELETED),
        stream(static=["goal"]),
        stream(static=["state.a"]),
        stream(static=["frame"]),
        stream(static=[7]),
        stream(rate=0),
        stream(rate=-60),
        stream(rate="60"),
        stream(rate=1e10),
        stream(warm_up=-1),
        stream(warm_up=0.5),
        stream(warm_up="never"),
        stream(frames=-1),
        stream(window=-1),
        stream(more=1),
    ):
        yield changed(STEP, "stream", to=value)
    for scale in (0, -0.5, 1e300, "1", None):
        yield changed(WINDOW, "declaration", "input_scales", to={"layer": scale})
    goal = {**STEP, "inputs": [GOAL, *STEP["inputs"]]}
    yield changed(goal, "stream", to=stream(static=["goal", "goal"]))
    yield changed(goal, "stream", to=stream(static=["goal", "frame"]))
    yield changed(STEP, "stream", to=stream(frames=1024))
    for dtype, shape in (("int32", [BATCH, 1]), ("int64", [BATCH, 2]), ("int64", [BATCH])):
        yield changed(counted(dtype, shape), "stream", to=stream(frames=1024))


def _bad_files() -> Iterator[Case]:
    for name in (
        "",
        ".",
        "..",
        "../x",
        "/etc/passwd",
        "a/b",
        "a\\b",
        "a\0b",
        "a\nb",
        "a\n",
        "x" * 256,
        "not there",
        "engine/not there",
        "engine/",
        "engine/.",
        "engine/..",
        "engine/../x",
        "engine/a/b",
        "engine//x",
        "engine/a\\b",
        "engine/a\n",
        "/engine/x",
        "./engine/x",
        "Engine/x",
    ):
        yield in_files(name)
    for changes in (
        {"sha256": DELETED},
        {"bytes": DELETED},
        {"more": 1},
        {"sha256": "A" * 64},
        {"sha256": "0" * 63},
        {"sha256": "0" * 65},
        {"sha256": "0" * 63 + "\n"},
        {"sha256": "0" * 64 + "\n"},
        {"sha256": "0" * 64},
        {"bytes": -1},
        {"bytes": 1.5},
        {"bytes": "7"},
        {"bytes": 7},
        {"bytes": True},
        {"bytes": 2**53},
        {"bytes": 10**30},
    ):
        yield in_files("model.onnx", **changes)
    content = entry(b"")
    for files in ({}, {"other.onnx": content}, [], {f"f{i}": content for i in range(257)}):
        yield changed(WINDOW, "files", to=files)


def _bad_texts() -> Iterator[Case]:
    for text in (
        b"",
        b" ",
        b"{",
        b"[]",
        b"null",
        b"7",
        b'"x"',
        b"{}",
        b"\xff",
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ):
        yield spelled(repr(text[:9]), lambda _, text=text: text)
    yield spelled("byte order mark", lambda text: b"\xef\xbb\xbf" + text)
    yield spelled("UTF-16", lambda text: text.decode().encode("utf-16"))
    for more in (b"\0", b"x", b"{}", b",", b"//", b"\xc2\xa0", b"\x0c"):
        yield spelled(f"more {more!r}", lambda text, more=more: text + more)
    yield spelled("a key twice", replaced(b'"format": 1', b'"format": 1, "format": 1'))
    yield spelled(
        "a key twice, spelled otherwise", replaced(b'"format": 1', b'"format": 1, "form\\u0061t": 1')
    )
    yield spelled("a key twice, inside", replaced(b'"embed_dim": 8', b'"embed_dim": 8, "embed_dim": 9'))
    for number in (
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"1e400",
        b"-1e400",
        b"1" * 400,
        b"1" * 5000,
        b"01",
        b"+1",
        b".5",
        b"1.",
        b"0x1",
    ):
        yield spelled(f"number {number[:9]!r}", replaced(b"0.375", number))
    for word in (
        b"undefined",
        b"'x'",
        b"True",
        b'"\t"',
        b'"\\x41"',
        b'"\\ud800"',
        b'"\xed\xa0\x80"',
        b'"\xc0\x80"',
        b"[1,]",
    ):
        yield spelled(f"word {word!r}", replaced(b"0.375", word))
    yield spelled("a key of half a pair", replaced(b'"dropout"', b'"\\udfff"'))
    yield spelled("too many values", lambda text: text, option=[0] * 100_001)
    yield spelled("too large", lambda text: text + b" " * (4 << 20))


def good() -> Iterator[Case]:
    for signature in (WINDOW, STEP):
        yield changed(signature, "temport", to="9.9")
    yield changed(WINDOW, "declaration", "input_scales", to={"layer": 0.5})
    goal = {**STEP, "inputs": [*STEP["inputs"], GOAL]}
    yield changed(goal, "stream", to=stream(static=["goal"], rate=59.94, warm_up=None))
    yield changed(STEP, "stream", to=stream(delay=2, rate=60, warm_up=12, window=13, frames=0))
    yield changed(counted("int64", [BATCH, 1]), "stream", to=stream(frames=1024))
    yield changed(WINDOW, "declaration", "prune", to=False)
    yield changed(STEP, "declaration", "kv_dtype", to="fp16")
    for name, opt in {
        "batch + 1": 3,
        "(batch + 5) // 3 % 4": 2,
        "max(batch - 9, 0)": 0,
        "min(2 * batch, 3)": 3,
    }.items():
        yield changed(WINDOW, "signature", "outputs", 0, "shape", 0, to=axis(name=name, min=0, opt=opt))
    yield changed(
        WINDOW,
        "signature",
        "inputs",
        0,
        "values",
        to={"low": "0", "high": "batch + 1", "prefix": False, "ignore": False},
    )
    yield changed(WINDOW, "declaration", "without", to=DELETED)
    yield changed(WINDOW, "verdict", to="fail")
    yield changed(WINDOW, "signature", "inputs", 0, "name", to="é" * 255)
    yield changed(WINDOW, "signature", "inputs", 0, "shape", 1, to=3.0)
    yield changed(WINDOW, "signature", "inputs", 0, "shape", to=[axis(), 2**38])
    yield changed(STEP, "signature", "inputs", 0, "shape", to=[STEP["inputs"][0]["shape"][0], 5, 7, 9])
    yield spelled("compact", lambda text: json.dumps(json.loads(text), separators=(",", ":")).encode())
    yield spelled("indented", lambda text: json.dumps(json.loads(text), indent=2).encode() + b"\r\n\t ")
    yield spelled("1 as 1.0", replaced(b'"format": 1', b'"format": 1.0'))
    yield spelled("1 as 10e-1", replaced(b'"semantics": 1', b'"semantics": 10e-1'))
    yield spelled("a pair", replaced(b"0.375", b'"\\ud83d\\ude00 \xf0\x9f\x98\x80 \\u0000"'))
    yield spelled("huge", replaced(b"0.375", b"1" * 300))
    yield spelled("a key of objects", replaced(b'"dropout"', b'"__proto__"'))
    yield spelled("many values", lambda text: text, option=[0] * 90_000)
