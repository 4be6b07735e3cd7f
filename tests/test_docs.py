"""The pages of docs/ are whole: every public name has its place in the reference, every link leads somewhere."""

import ast
import re
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from inspect import cleandoc
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest

import temport
from temport import graphs
from temport.custom_ops.op import CustomOp
from temport.custom_ops.table import OPS

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
REFERENCE = "\n".join(page.read_text() for page in (DOCS / "reference").glob("*.rst"))
SHOWN = re.findall(r"^\.\. (?:auto\w+|data):: (\S+)$", REFERENCE, re.MULTILINE)
MARKDOWN = [
    page
    for page in (*ROOT.glob("*.md"), *DOCS.glob("*.md"), *(ROOT / "deploy").rglob("*.md"))
    if not {"node_modules", "build"} & set(page.parts)
]
SAID = (
    "values are NaN or infinite where the oracle is finite",
    "cases could be judged",
    "the source's own error is above the ceiling here",
    "no runtime was run",
    "the model does not load: ",
    "the run fails: ",
    "there is no output ",
    "occur nowhere in the graph; this tensor comes nearest",
    "the graph, evaluated in float64, differs from the source",
    "the function body in the file differs from the op's reference",
    "its inputs are right, so this node is computed wrongly",
    "no single node is wrong: rounding accumulates until the output leaves its bound",
    "it passes with intermediate tensors exposed: suspect a fusion of several nodes",
    "it does not run with intermediate tensors exposed",
    "it passes when run again: it is not deterministic",
    "is the first that is wrong",
    "makes the graph wrong; ",
    "the traced graph already differs from the source, no pass made it so",
)
"""Sentences of the parity report that docs/parity-fails.md explains."""


@pytest.mark.parametrize("module", [temport, graphs], ids=["temport", "temport.graphs"])
def test_every_public_name_is_in_the_reference(module: ModuleType) -> None:
    assert {f"{module.__name__}.{public}" for public in module.__all__} <= set(SHOWN)


@pytest.mark.parametrize("op", OPS.values(), ids=lambda op: op.name)
def test_every_op_is_in_the_reference(op: CustomOp) -> None:
    assert f".. onnx-op:: {op.name}\n" in REFERENCE
    folder = import_module(op.reference.__module__.rpartition(".")[0])
    functions = {f"{folder.__name__}.{public}" for public in folder.__all__ if public != "OP"}
    assert functions <= set(SHOWN)


@pytest.mark.parametrize("name", SHOWN)
def test_the_reference_names_what_there_is(name: str) -> None:
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for attribute in parts[length:]:
            found = getattr(found, attribute)
        return
    pytest.fail(f"{name} cannot be imported")


@pytest.mark.parametrize("page", MARKDOWN, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text()):
        path, _, heading = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), target
        assert not heading or heading in headings(file), target


def headings(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    titles = re.findall(
        r"^#+ (.+)$", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL), re.MULTILINE
    )
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_page_is_in_the_index() -> None:
    named = set(re.findall(r"^(?:reference/)?[\w-]+$", (DOCS / "index.md").read_text(), re.MULTILINE))
    pages = {
        str(page.relative_to(DOCS).with_suffix(""))
        for end in ("md", "rst")
        for page in DOCS.rglob(f"*.{end}")
    }
    assert pages - {"index"} == named


@pytest.mark.parametrize("sentence", SAID)
def test_parity_fails_explains_sentences_that_are_said(sentence: str) -> None:
    assert sentence.strip() in " ".join((DOCS / "parity-fails.md").read_text().split())
    assert sentence in STRINGS


def strings() -> str:
    """Every text in the parity code, what is filled in left out."""
    texts = []
    for file in (ROOT / "exporter" / "parity").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return "\n".join(texts)


STRINGS = strings()


def test_questions_and_sections_of_parity_fails_have_the_same_numbers() -> None:
    chart = (DOCS / "pictures" / "parity-fails.svg").read_text()
    numbers = [int(n) for n in re.findall(r">(\d)  ", chart)]
    sections = [
        int(n) for n in re.findall(r"^## (\d) ", (DOCS / "parity-fails.md").read_text(), re.MULTILINE)
    ]
    assert numbers == sections
    assert all(b == a + 1 for a, b in pairwise(sections))


def test_a_docstring_becomes_what_sphinx_reads() -> None:
    path = DOCS / "extensions" / "docstrings.py"
    spec = spec_from_file_location("docstrings", path)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    told = """max|error| * `x`s of a_ and `a_`

    q, k       `[B, T]`, the first
               and the second
    the_widest what it is

        stays  as it is"""
    assert list(module.rewritten(cleandoc(told).splitlines())) == [
        "max\\|error\\| \\* ``x``\\ s of a\\_ and ``a_``",
        "",
        *(".. list-table::", "   :widths: auto", "   :align: left", ""),
        "   * - ``q, k``",
        "     - ``[B, T]``\\ , the first and the second",
        "   * - ``the_widest``",
        "     - what it is",
        "",
        *("::", "", "    stays  as it is", ""),
    ]


def test_the_drawing_names_rooms_that_there_are() -> None:
    rooms = re.findall(r'<text class="room"[^>]*>([^<]+)<', (DOCS / "pictures" / "way.svg").read_text())
    assert {"graphs", "custom_ops", "deploy"} < set(rooms)
    assert all((ROOT / room).is_dir() for room in rooms)
    drawn = {room.partition("/")[2] for room in rooms if room.startswith("exporter/")}
    there = {folder.parent.name for folder in (ROOT / "exporter").glob("*/__init__.py")}
    beside = {"serve", "bench", "certify", "compress", "fleet", "scorecard", "show"}
    assert there - drawn == beside


def test_the_drawings_are_what_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(DOCS / "pictures")
    draw = import_module("draw")
    assert draw.way() == (DOCS / "pictures" / "way.svg").read_text()
    assert draw.parity_fails() == (DOCS / "pictures" / "parity-fails.svg").read_text()
