"""The rooms of the exporter: imports go one way, and every room is on the map."""

from __future__ import annotations

import ast
import tomllib
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("custom_ops", "graphs", "exporter")
"""Each may import those before it."""
APART = {"exporter/bench"}
"""Measures everything, and nothing imports it but the command line and what shows measurements."""


def room(path: Path) -> str:
    """`exporter/passes/prune.py` -> `exporter/passes`; a file beside the rooms is one of its own."""
    parts = path.parts
    return "/".join(parts[:2]) if parts[0] == "exporter" else parts[0]


@cache
def imports(root: Path) -> list[tuple[str, str, Path]]:
    """(room, imported room, file) for every import of our own, whenever it runs."""
    found = []
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("temport."):
                    for name in node.names:
                        target = Path(*node.module.split(".")[1:], name.name)
                        if len(target.parts) > 1:
                            inside = path.relative_to(root)
                            source = room(inside.with_suffix("") if len(inside.parts) == 2 else inside)
                            found.append((source, room(target), inside))
    return found


def circles(arrows: dict[str, set[str]]) -> list[str]:
    """Rooms from which a way leads back to themselves."""

    def reached(start: str) -> set[str]:
        found: set[str] = set()
        pending = [start]
        while pending:
            for target in arrows[pending.pop()] - found:
                found.add(target)
                pending.append(target)
        return found

    return [name for name in list(arrows) if name in reached(name)]


def arrows(root: Path) -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for source, target, _ in imports(root):
        if source != target:
            found[source].add(target)
    return found


def test_no_room_is_imported_by_what_it_imports() -> None:
    assert circles(arrows(ROOT)) == []


def test_packages_import_those_before_them() -> None:
    for source, target, path in imports(ROOT):
        package = target.split("/")[0]
        if package in PACKAGES:  # and not a module of the face, which knows nothing of the rooms
            assert PACKAGES.index(package) <= PACKAGES.index(source.split("/")[0]), path


def test_nothing_hangs_on_the_benchmarks() -> None:
    above = {"exporter/cli", "exporter/diff_command", "exporter/fleet", "exporter/scorecard", "exporter/show"}
    assert not [s for s, target, _ in imports(ROOT) if target in APART and s not in APART | above]


def beyond(names: set[str], root: Path) -> set[str]:
    """Imports of our own that these files make as they are loaded, and that lead out of them."""
    modules = {name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in names}
    return {
        f"{name} imports {node.module}"
        for name in names
        if name.endswith(".py")
        for node in ast.parse((root / name).read_text()).body
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "temport"
        if node.module not in modules
    }


def test_what_runs_bundles_imports_nothing_else() -> None:
    """Those files are a distribution of their own, temport-runtime."""
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["scikit-build"]["wheel"]
    names = set(wheel["exclude"])
    assert beyond(names, ROOT / "deploy" / "python") == set()
    without = names - {"temport/exporter/varint.py"}
    assert any(f.endswith("temport.exporter.varint") for f in beyond(without, ROOT / "deploy" / "python"))


def test_a_circle_is_seen(tmp_path: Path) -> None:
    for name, other in (("passes", "runtimes"), ("runtimes", "report"), ("report", "passes")):
        (tmp_path / "exporter" / name).mkdir(parents=True)
        (tmp_path / "exporter" / name / "one.py").write_text(f"from temport.exporter.{other}.two import x\n")
    assert len(circles(arrows(tmp_path))) == 3


@pytest.mark.parametrize(
    "path", sorted(p.name for p in (ROOT / "exporter").iterdir() if (p / "__init__.py").is_file())
)
def test_every_room_is_on_the_map(path: str) -> None:
    assert f"`exporter/{path}`" in (ROOT / "ARCHITECTURE.md").read_text()
