"""One table of manifests, and three readers that say the same of each."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from manifest_cases import bad, changed, good
from readers import WINDOW, entry, manifest, model, refusals, whole, write

from temport.exporter.bundle import manifest as manifest_module
from temport.exporter.bundle.digest import DIGEST, write_digest
from temport.exporter.bundle.directory import MANIFEST
from temport.exporter.runtimes import node

FLIPS, FLIPS_OF_BEFORE = 2000, 400


def _moved(directory: Path, name: str) -> None:
    (directory / name).rename(directory.parent / f"{directory.name} moved")
    (directory / name).symlink_to(directory.parent / f"{directory.name} moved")


FOLDERS: dict[str, Callable[[Path], Any]] = {
    "a folder": lambda directory: None,
    "a link to a folder": lambda directory: _moved(directory, "engine"),
    "a link in a folder": lambda directory: _moved(directory, "engine/b"),
    "a flip in a folder": lambda directory: (directory / "engine/b").write_bytes(b"\0\0\0\1"),
}
"""What becomes of the folder of an engine in a bundle that is whole otherwise; only the first is taken."""


def test_every_reader_refuses_the_same_manifests(tmp_path: Path) -> None:
    """And takes the same: in `good` stands what looks odd and is right."""
    cases = [(True, *case) for case in bad()] + [(False, *case) for case in good()]
    made = [write(tmp_path / str(i), text, content) for i, (_, _, text, content) in enumerate(cases)]
    expected = [(refused, told) for refused, told, _, _ in cases]
    for told, change in FOLDERS.items():
        expected.append((told != "a folder", told))
        made.append(whole(tmp_path / told, model().SerializeToString(), ["engine/a.so", "engine/b"]))
        change(made[-1])
    for reader, said in refusals(made).items():
        wrong = [
            f"{told}: {refusal or 'taken'}"
            for (refused, told), refusal in zip(expected, said, strict=True)
            if bool(refusal) != refused
        ]
        assert not wrong, f"{reader}: {wrong}"


def test_every_flip_of_a_bit_is_refused(tmp_path: Path) -> None:
    """By the digest beside the manifest; in a bundle of before, which has none, the readers still agree."""
    content = model().SerializeToString()
    text = json.dumps({**manifest(), "files": {"model.onnx": entry(content)}}).encode()
    sealed = write(tmp_path / "sealed", text, content)
    assert refusals([sealed]) == {"Python": [""], "C++": [""], "JavaScript": [""]}
    bits = random.Random(0).sample(range(8 * len(text)), min(FLIPS, 8 * len(text)))
    made = []
    for bit in bits:
        flipped = bytearray(text)
        flipped[bit // 8] ^= 1 << bit % 8
        directory = tmp_path / str(bit)
        directory.mkdir()
        (directory / MANIFEST).write_bytes(flipped)
        os.link(sealed / "model.onnx", directory / "model.onnx")
        made.append(directory)
    before = refusals(made[:FLIPS_OF_BEFORE])
    taken = {reader: [i for i, line in enumerate(said) if not line] for reader, said in before.items()}
    assert taken["Python"] == taken["C++"] == taken["JavaScript"] != []
    for directory in made:
        os.link(sealed / DIGEST, directory / DIGEST)
    for reader, said in refusals(made).items():
        assert len(said) == len(bits) and all(said), reader


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "link", "directory", "other"])
def test_a_damaged_digest_is_refused(tmp_path: Path, damage: str) -> None:
    _, text, content = changed(WINDOW, "temport", to="9.9")
    bundle = write(tmp_path / "b", text, content)
    digest = bundle / DIGEST
    said = digest.read_bytes()
    match damage:
        case "flip":
            digest.write_bytes(bytes([said[0] ^ 1]) + said[1:])
        case "cut":
            digest.write_bytes(said[:-1])
        case "empty":
            digest.write_bytes(b"")
        case "link":
            digest.rename(tmp_path / "elsewhere")
            digest.symlink_to(tmp_path / "elsewhere")
        case "directory":
            digest.unlink()
            digest.mkdir()
        case "other":
            (bundle / MANIFEST).write_bytes(text + b"\n")
    for reader, (line,) in refusals([bundle]).items():
        assert DIGEST in line, reader
    if damage == "other":
        write_digest(bundle)
        assert set(map(tuple, refusals([bundle]).values())) == {("",)}


def test_the_browser_reads_the_same_schema() -> None:
    """deploy/js/make_schema.sh writes the module."""
    module = (node.JS / "lib" / "manifest_schema.mjs").read_text()
    assert module.split("export default ")[1] == manifest_module.SCHEMA.read_text()
